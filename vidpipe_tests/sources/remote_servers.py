"""Real servers on loopback: FTP and FTPS (pyftpdlib), SFTP (asyncssh) and WebDAV (wsgidav), each over one folder.

`cut_at`: the next files break off after so many bytes, one for each entry; `hang_at`: likewise, but the server stays
connected and sends nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.servers import ThreadedFTPServer
from werkzeug.serving import make_server
from wsgidav.wsgidav_app import WsgiDAVApp

USER, PASSWORD = "film", "s3cr3t-word"


@dataclass
class RunningServer:
    """url: of its folder, with user and password; port: its port; folder: what it serves."""

    scheme: str
    port: int
    folder: Path
    cut_at: list[int] = field(default_factory=list)
    hang_at: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def url(self, path: str = "", *, user: str = f"{USER}:{PASSWORD}@") -> str:
        return f"{self.scheme}://{user}localhost:{self.port}/{path}"


@contextlib.contextmanager
def ftp_server(
    folder: Path, certificate: Path | None = None, *, mlsd: bool = True, pasv_address: str | None = None
) -> Iterator[RunningServer]:
    """`pasv_address`: the address that the server names for data connections, whatever its own is."""
    running = RunningServer("ftps" if certificate else "ftp", 0, folder)
    tls: Any = pytest.importorskip("OpenSSL") and importlib.import_module("pyftpdlib.handlers") if certificate else None
    data_base: Any = tls.TLS_DTPHandler if certificate else DTPHandler
    control_base: Any = tls.TLS_FTPHandler if certificate else FTPHandler

    class Data(data_base):  # type: ignore[misc]
        sent = 0

        def send(self, data: bytes) -> Any:
            end = next(iter(running.cut_at or running.hang_at), None) if self.cmd == "RETR" else None
            if end is not None and self.sent >= end:
                if running.cut_at:
                    running.cut_at.pop(0)
                    self.close()
                return time.sleep(0.01) or 0
            sent = super().send(data if end is None else data[: end - self.sent])  # of TLS, perhaps nothing at first
            self.sent += sent
            return sent

    class Control(control_base):  # type: ignore[misc]
        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            running.requests.append(line)
            super().pre_process_command(line, cmd, arg)

    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(folder), perm="elr")
    authorizer.add_anonymous(str(folder), perm="elr")
    Control.authorizer, Control.dtp_handler = authorizer, Data
    Control.masquerade_address = pasv_address
    Control.use_sendfile = False
    Control.auth_failed_timeout = 0
    if not mlsd:
        Control.proto_cmds = {name: how for name, how in Control.proto_cmds.items() if name not in ("MLSD", "MLST")}
    if certificate:
        Control.certfile = str(certificate)
        Control.tls_control_required = Control.tls_data_required = True
    server = ThreadedFTPServer(("127.0.0.1", 0), Control)
    running.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"timeout": 0.05, "handle_exit": False}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.close_all()
        thread.join(timeout=5)


@contextlib.contextmanager
def sftp_server(folder: Path) -> Iterator[tuple[RunningServer, str]]:
    """Yield the server, and its line for known_hosts."""
    running = RunningServer("sftp", 0, folder)
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Account(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(folder))
            self._channel = channel

        async def read(self, file_obj: Any, offset: int, size: int) -> bytes:
            running.requests.append(f"read {offset}")
            if running.cut_at and offset > running.cut_at[0]:
                running.cut_at.pop(0)
                self._channel.get_connection().abort()
            if running.hang_at and offset > running.hang_at[0]:
                await asyncio.sleep(600)
            return bytes(super().read(file_obj, offset, size))  # type: ignore[arg-type]

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> Any:
        return await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Account, sftp_factory=Files)

    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    running.port = listening.get_port()
    public = key.export_public_key().decode().split()
    try:
        yield running, f"[localhost]:{running.port} {public[0]} {public[1]}\n"
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)


@contextlib.contextmanager
def webdav_server(folder: Path) -> Iterator[RunningServer]:
    running = RunningServer("webdav", 0, folder)
    files = WsgiDAVApp(
        {
            "provider_mapping": {"/": {"root": str(folder), "readonly": True}},
            "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "logging": {"enable": False}, "verbose": 0,
        }
    )  # fmt: skip

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        running.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ.get('HTTP_RANGE', '')}")
        body = files(environ, start_response)
        if environ["REQUEST_METHOD"] == "GET" and (running.cut_at or running.hang_at):
            return _broken(b"".join(body), running)
        return body

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    running.port = server.port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def _broken(body: bytes, running: RunningServer) -> Iterator[bytes]:
    if running.cut_at:
        yield body[: running.cut_at.pop(0)]
        raise ConnectionAbortedError("cut on purpose")
    yield body[: running.hang_at[0]]
    time.sleep(8)
