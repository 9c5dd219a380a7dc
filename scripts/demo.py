"""`make demo`: a handful of clips over real HTTP, through all stages, and what came out.

It uses a separate home, the folder demo, so that the clone's own library stays empty. The clips are those that
make_samples.py creates in demo/samples, and your own in data/samples. They are served on the loopback, as a web site
would serve them, and every step is the `vidpipe` command that a user would type.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from make_samples import make_samples

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "demo"
#: Clips of the user's own.
OWN = ROOT / "data" / "samples"
#: Always the same where it is free, so that a second demo asks for the same URLs.
PORT = 8037
BROKEN = "broken.mp4"
VIDPIPE = Path(sys.executable).with_name("vidpipe")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the downloads' own progress is shown."""


class ClipHandler(QuietHandler):
    """Serves single files, by name."""

    clips: Mapping[str, Path] = {}

    def translate_path(self, path: str) -> str:
        return str(self.clips.get(unquote(urlsplit(path).path).lstrip("/"), ROOT / "no such clip"))


def serve(clips: Mapping[str, Path]) -> ThreadingHTTPServer:
    """A real HTTP server for `clips` on the loopback."""
    handler = type("Handler", (ClipHandler,), {"clips": clips})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def vidpipe(*arguments: str, shown: str = "", home: Path = HOME) -> int:
    """Runs the command as a user would, after showing it; gives its exit code."""
    print(f"\n\033[1m$ vidpipe {shown or shlex.join(arguments)}\033[0m" if sys.stdout.isatty() else
          f"\n$ vidpipe {shown or shlex.join(arguments)}", flush=True)  # fmt: skip
    environment = {**os.environ, "VIDPIPE_HOME": str(home), "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1"}
    return subprocess.run([VIDPIPE, *arguments], env=environment, check=False).returncode


def own_clips() -> list[Path]:
    """What the user has put into data/samples."""
    found = OWN.iterdir() if OWN.is_dir() else ()
    return [path for path in found if path.is_file() and path.suffix != ".md" and not path.name.startswith(".")]


def main() -> int:
    began = time.monotonic()
    clips = {path.name: path for path in (*make_samples(), *own_clips())}
    names = sorted(clips)
    server = serve(clips)
    site = f"http://127.0.0.1:{server.server_port}"
    print(f"{len(names)} clips are served at {site}; {BROKEN} is broken on purpose.")
    codes = {
        "init": vidpipe("init", str(HOME), shown="init demo"),
        "add": vidpipe("add", *(f"{site}/{quote(name)}" for name in names), shown=f"add {site}/… ({len(names)} URLs)"),
        "run": vidpipe("run"),
        "list": vidpipe("list"),
        "status": vidpipe("status"),
    }
    vidpipe("search", "frightening", "place")
    vidpipe("explain", "night-watch", "--tag", "Dark")
    server.shutdown()
    print(f"\nDone in {time.monotonic() - began:.0f} s. {NEXT}")
    # One of the files is broken, so that `add` has something to report; everything else has to succeed.
    return 0 if codes == {"init": 0, "add": 1, "run": 0, "list": 0, "status": 0} else 1


NEXT = f"""The demo's home is {HOME}. To explore it:
  source .venv/bin/activate && cd demo       or from anywhere: export VIDPIPE_HOME={shlex.quote(str(HOME))}
  vidpipe show night-watch                   everything about one video
  vidpipe add URL|FILE|FOLDER …              bring in your own; then: vidpipe run
  vidpipe up                                 the pipeline's web page, at http://localhost:3000
  vidpipe down                               stop the servers, the embedded MongoDB too
  rules/custom_tags.json, rules/categories.json: change a rule, and `vidpipe run` tags again what it concerns"""


if __name__ == "__main__":
    sys.exit(main())
