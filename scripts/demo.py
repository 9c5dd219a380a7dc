"""`make demo`: a handful of clips over real HTTP, through all stages, and what came out.

The clips are made by make_samples.py in data/samples; whatever else lies there comes along. They are served on the
loopback, as a web site would serve them, and every step is the `vidpipe` command that a user would type.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from make_samples import SAMPLES, make_samples

ROOT = Path(__file__).resolve().parents[1]
#: Always the same where it is free, so that a second demo asks for the same URLs.
PORT = 8037
BROKEN = "broken.mp4"
VIDPIPE = Path(sys.executable).with_name("vidpipe")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the downloads' own progress is shown."""


def serve(directory: Path) -> ThreadingHTTPServer:
    """A real HTTP server for `directory` on the loopback."""
    handler = partial(QuietHandler, directory=str(directory))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def vidpipe(*arguments: str, shown: str = "") -> int:
    """Runs the command as a user would, after showing it; gives its exit code."""
    print(f"\n\033[1m$ vidpipe {shown or shlex.join(arguments)}\033[0m" if sys.stdout.isatty() else
          f"\n$ vidpipe {shown or shlex.join(arguments)}", flush=True)  # fmt: skip
    environment = {**os.environ, "VIDPIPE_HOME": str(ROOT), "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1"}
    return subprocess.run([VIDPIPE, *arguments], env=environment, check=False).returncode


def main() -> int:
    began = time.monotonic()
    make_samples()
    names = sorted(path.name for path in SAMPLES.iterdir() if path.is_file() and path.suffix != ".md"
                   and not path.name.startswith("."))  # fmt: skip
    server = serve(SAMPLES)
    site = f"http://127.0.0.1:{server.server_port}"
    print(f"{len(names)} clips of data/samples are served at {site}; {BROKEN} is broken on purpose.")
    codes = {
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
    return 0 if codes == {"add": 1, "run": 0, "list": 0, "status": 0} else 1


NEXT = """Next:
  .venv/bin/vidpipe show night-watch         everything about one video
  .venv/bin/vidpipe add URL|FILE|FOLDER …    bring in your own; then: .venv/bin/vidpipe run
  .venv/bin/dagster dev                      the pipeline's web page, at http://localhost:3000
  .venv/bin/vidpipe down                     stop the embedded MongoDB
  rules/custom_tags.json, rules/categories.json: change a rule, and `vidpipe run` tags again what it concerns"""


if __name__ == "__main__":
    sys.exit(main())
