"""The server of the library page: `python -m vidpipe.web.server --home HOME --host 127.0.0.1 --port 8000`.

`vidpipe up` and `vidpipe web` start it.
"""

import argparse
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vidpipe.errors import VidpipeError
from vidpipe.library.api_keys import ApiKeys
from vidpipe.operations.http_guard import serve
from vidpipe.settings import Settings, configure_logging, load
from vidpipe.web.access import is_loopback
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome


def main(arguments: Sequence[str] | None = None, ready: Callable[[], None] = lambda: None) -> int:
    """Serve the page until the process is terminated. Returns its exit code.

    Args:
        arguments: Of the command line.
        ready: Called once the page listens.
    """
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
            _say_without_keys(home, options.host)
            app = create_app(home)
            gc.freeze()
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # after it, jobs are ended
            try:
                serve(app, options.host, options.port, allowed_hosts(home.settings), "LibraryPort", ready=ready)
            finally:
                app.state.jobs.close()
        finally:
            home.close()
    except VidpipeError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


def _say_without_keys(home: WebHome, host: str) -> None:
    page, opened = home.settings.library_page, home.opened()
    needed = page.require_keys == "always" or page.public_url or not is_loopback(host)
    with opened.library.connection.errors_explained():
        if needed and next(ApiKeys(opened.library.collections).all(), None) is None:
            sys.stderr.write("There are no keys yet, but all or some requests need one: `vidpipe keys create NAME`.\n")


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the names of the page besides the address that it listens on."""
    public = urlsplit(settings.library_page.public_url).hostname
    return (*settings.services.allowed_hosts, *filter(None, [public]))


if __name__ == "__main__":
    sys.exit(main())
