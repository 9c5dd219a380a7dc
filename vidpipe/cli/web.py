"""vidpipe web and vidpipe open: serve the library page, and open it in a browser."""

import webbrowser
from typing import Annotated

import typer

from vidpipe.cli.context import command_context, open_library
from vidpipe.cli.output import note, out, words
from vidpipe.errors import UnavailableError
from vidpipe.operations.services.service_definitions import answers, find_running, url
from vidpipe.settings import Settings


def web(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. Default: [Services] Host.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port. Default: [Services] LibraryPort.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> int:
    """Serve the library page and its API until Ctrl-C.

    `vidpipe up` serves it in the background, too. On any address but loopback, requests need keys: see `vidpipe keys`.
    """
    loaded = command_context(context).load()
    services = loaded.settings.services
    host, port = host or services.host, port or services.library_port
    from vidpipe.web import access, server  # import FastAPI

    address = url(host, port)

    def listening() -> None:
        out().print(words(f"Library page: {address} (Ctrl-C stops it)"), soft_wrap=True)
        if not access.is_loopback(host):
            note(f"Requests to {host} need a key (`vidpipe keys create NAME`) and a proxy with TLS in front.", "yellow")
        if open_browser and not webbrowser.open(address):
            note("No browser was found.")

    arguments = ["--home", str(loaded.settings.home), "--config", str(loaded.config)]
    return server.main([*arguments, "--host", host, "--port", str(port)], listening)


def open_page(
    context: typer.Context,
    video: Annotated[
        str | None, typer.Argument(metavar="VIDEO", help="A hash prefix, URL or file name. Default: the library.")
    ] = None,
    *,
    at: Annotated[float | None, typer.Option("--at", min=0, metavar="SECONDS", help="Start playing here.")] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Print the URL instead of opening it.")] = False,
) -> None:
    """Open a video, or the library, in the browser."""
    path = "/"
    if video is not None:
        with open_library(context) as opened:
            path = f"/videos/{opened.library.videos.resolve(video)}" + (f"?t={at:g}" if at else "")
    page = page_address(command_context(context).load().settings) + path
    if print_only or not webbrowser.open(page):
        out().print(words(page), soft_wrap=True)


def page_address(settings: Settings) -> str:
    """Return where a browser reaches the library page.

    Raises:
        UnavailableError: It is not being served.
    """
    if settings.library_page.public_url:
        return settings.library_page.public_url
    server = find_running(settings.home).get("library")
    address = url(settings.services.host, server.port if server and server.port else settings.services.library_port)
    if not answers(f"{address}/api/v1/health"):
        hint = "`vidpipe up` or `vidpipe web` serves it."
        raise UnavailableError(f"The library page does not respond at {address}.", hint)
    return address
