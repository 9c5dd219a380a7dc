"""Statistics as one HTML file that needs nothing else: pictures and tables. Names are escaped; no script runs."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vidpipe import __version__
from vidpipe.operations.metrics.formatting import format_duration, format_percent, printable_name
from vidpipe.operations.metrics.plots import heading, svgs
from vidpipe.operations.metrics.statistics import LibraryStatistics


def html(statistics: LibraryStatistics) -> bytes:
    """Return the file.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": format_duration, "percent": format_percent, "name": printable_name}
    page = environment.get_template("statistics.html.j2").render(
        found=statistics,
        heading=heading(statistics),
        ended=", ".join(f"{number:,} {status}" for status, number in sorted(statistics.runs.items())),
        pictures={title: base64.b64encode(svg).decode() for title, svg in svgs(statistics).items()},
        version=__version__,
    )
    return page.encode()
