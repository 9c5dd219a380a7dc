"""The server of the library page: `python -m vidpipe.web.server --home HOME --host 127.0.0.1 --port 8000`.

`vidpipe up` and `vidpipe web` start it.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vidpipe.errors import VidpipeError
from vidpipe.operations.http_guard import serve
from vidpipe.settings import Settings, configure_logging, load
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until the process is terminated. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="vidpipe.web.server", description="Serves the library page and its API.")
    parser.add_argument("--home", type=Path, required=True, help="the folder of config.ini")
    parser.add_argument("--config", type=Path, help="read this file instead of config.ini")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        home = WebHome(lambda: load(options.home, config=options.config).settings, options.config)
        configure_logging(home.settings)
        try:
            home.opened()
            app = create_app(home)
            gc.freeze()
            serve(app, options.host, options.port, allowed_hosts(home.settings), "LibraryPort")
        finally:
            home.close()
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the names of the page besides the address that it listens on."""
    public = urlsplit(settings.library_page.public_url).hostname
    return (*settings.services.allowed_hosts, *filter(None, [public]))


if __name__ == "__main__":
    sys.exit(main())
