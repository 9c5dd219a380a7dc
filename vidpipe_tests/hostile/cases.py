"""What hostile cases share: what is expected of each, and the targets that must never be reached."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

#: refused: it must not become a video. stored: it must. any: either, without harm.
Expectation = Literal["refused", "stored", "any"]
#: A host name whose address changes with each look-up.
REBOUND = "rebound.example"
#: A word that is nowhere but in the file that no input may read.
SECRET = "xyzzy-of-this-machine"  # noqa: S105  (of no account)


@dataclass(frozen=True)
class Case:
    """One input as it is given to `vidpipe add`, and what must become of it."""

    name: str
    given: str
    expect: Expectation


@dataclass
class Inside:
    """What must not be reached: a file of this machine, and a server that is not in AllowedPrivate.

    Attributes:
        secret: The file.
        port: Of the server, on every address of this machine.
        visits: What was sent to it.
    """

    secret: Path
    port: int = 0
    visits: list[bytes] = field(default_factory=list)

    def targets(self) -> dict[str, str]:
        """Return name -> URL of what must not be reached."""
        return {
            "file": f"file://{self.secret}",
            "loopback": f"http://127.0.0.1:{self.port}/v.mp4",
            "localhost": f"http://localhost:{self.port}/v.mp4",
            "ipv6": f"http://[::1]:{self.port}/v.mp4",
            "number": f"http://2130706433:{self.port}/v.mp4",
            "hexadecimal": f"http://0x7f000001:{self.port}/v.mp4",
            "mapped": f"http://[::ffff:127.0.0.1]:{self.port}/v.mp4",
            "metadata": "http://169.254.169.254/latest/meta-data/v.mp4",
            "private": "http://10.255.255.1/v.mp4",
            "gopher": f"gopher://127.0.0.1:{self.port}/v.mp4",
        }


@contextmanager
def rebinding(inside: Inside, port: int) -> Iterator[None]:
    """DNS rebinding: every other look-up of REBOUND gives an address that is not allowed, where `inside` listens."""
    real, turns = socket.getaddrinfo, itertools.cycle(("127.0.0.1", "127.0.0.3"))

    def look_up(host: Any, *how: Any, **more: Any) -> Any:
        return real(next(turns) if host == REBOUND else host, *how, **more)

    with socket.create_server(("127.0.0.3", port)) as listener, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=_note, args=(listener, inside), daemon=True).start()
        patch.setattr(socket, "getaddrinfo", look_up)
        yield


def _note(listener: socket.socket, inside: Inside) -> None:
    """Note what visitors send until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1)
            try:
                inside.visits.append(connection.recv(500))
            except OSError:
                inside.visits.append(b"connected")


@contextmanager
def inside(folder: Path) -> Iterator[Inside]:
    """Give a secret file, and a server that notes whoever connects to it."""
    folder.mkdir()
    found = Inside(folder / "secret.txt")
    found.secret.write_text(f"{SECRET}\n")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        found.port = listener.getsockname()[1]
        threading.Thread(target=_note, args=(listener, found), daemon=True).start()
        yield found
