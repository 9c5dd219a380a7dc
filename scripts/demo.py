"""`make demo`: downloads a few clips over HTTP, takes them through all stages and shows the results.

It uses a separate home, the folder demo, so that the clone's own library stays empty. The clips are those that
make_samples.py creates in demo/samples, and your own in data/samples. They are served on localhost, and every step is a
`vidpipe` command as a user would type it.
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
#: The user's own clips.
OWN = ROOT / "data" / "samples"
#: Fixed if free, so that a second demo uses the same URLs.
PORT = 8037
BROKEN = "broken.mp4"
#: Analyses of the demo; the user's own choice in config.local.ini stays.
ANALYSES = "[Analyses]\nEnabled = speech, screen_text, meaning\n"
VIDPIPE = Path(sys.executable).with_name("vidpipe")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the downloads show their own progress."""


class ClipHandler(QuietHandler):
    """Serves single files by name."""

    clips: Mapping[str, Path] = {}

    def translate_path(self, path: str) -> str:
        return str(self.clips.get(unquote(urlsplit(path).path).lstrip("/"), ROOT / "no such clip"))


def serve(clips: Mapping[str, Path]) -> ThreadingHTTPServer:
    """Start an HTTP server for `clips` on localhost."""
    handler = type("Handler", (ClipHandler,), {"clips": clips})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def vidpipe(*arguments: str, shown: str = "", home: Path = HOME) -> int:
    """Print a command and run it as a user would. Return its exit code."""
    line = f"$ vidpipe {shown or shlex.join(arguments)}"
    print(f"\n\033[1m{line}\033[0m" if sys.stdout.isatty() else f"\n{line}", flush=True)
    environment = {**os.environ, "VIDPIPE_HOME": str(home), "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1"}
    return subprocess.run([VIDPIPE, *arguments], env=environment, check=False).returncode


def own_clips() -> list[Path]:
    """Return the clips that the user has put into data/samples."""
    found = OWN.iterdir() if OWN.is_dir() else ()
    return [path for path in found if path.is_file() and path.suffix != ".md" and not path.name.startswith(".")]


def enable_analyses() -> int:
    """Enable the analyses in the demo's home and install their models."""
    local = HOME / "config.local.ini"
    if not local.exists():
        local.write_text(ANALYSES, encoding="utf-8")
        print(f"\n{local.relative_to(ROOT)}: {' '.join(ANALYSES.split())}")
    return vidpipe("models", "install", "--yes")


def main() -> int:
    began = time.monotonic()
    clips = {path.name: path for path in (*make_samples(), *own_clips())}
    names = sorted(clips)
    server = serve(clips)
    site = f"http://127.0.0.1:{server.server_port}"
    print(f"Serving {len(names)} clips at {site}; {BROKEN} is broken on purpose.")
    codes = {
        "init": vidpipe("init", str(HOME), shown="init demo"),
        "models": enable_analyses(),
        "add": vidpipe("add", *(f"{site}/{quote(name)}" for name in names), shown=f"add {site}/… ({len(names)} URLs)"),
        "run": vidpipe("run"),
        "list": vidpipe("list"),
        "status": vidpipe("status"),
    }
    vidpipe("search", "frightening", "place")
    vidpipe("search", "said:lighthouse")
    vidpipe("search", "steam engine")
    vidpipe("search", "--meaning", "an old locomotive", "--limit", "1")
    vidpipe("explain", "night-watch", "--tag", "Dark")
    server.shutdown()
    print(f"\nDone in {time.monotonic() - began:.0f} s. {NEXT}")
    # One of the files is broken, so `add` reports a failure; everything else must succeed.
    return 0 if codes == {"init": 0, "models": 0, "add": 1, "run": 0, "list": 0, "status": 0} else 1


NEXT = f"""The demo's home is {HOME}. To explore it:
  source .venv/bin/activate && cd demo       or from anywhere: export VIDPIPE_HOME={shlex.quote(str(HOME))}
  vidpipe show night-watch                   show everything about one video
  vidpipe add URL|FILE|FOLDER …              add your own, then: vidpipe run
  vidpipe web --open                         search, watch, explain and correct in the browser: the library page
  vidpipe up                                 all servers: that page, and Dagster's at http://localhost:3000
  vidpipe down                               stop all servers, including the embedded MongoDB
After a change of rules/custom_tags.json or rules/categories.json, `vidpipe run` updates the affected tags."""


if __name__ == "__main__":
    sys.exit(main())
