"""Prints the section of CHANGELOG.md about one version, for the page of its release.

    python scripts/release_notes.py [VERSION]

Exits with status 1 if there is none, or if it has no date. Without VERSION, it is that of the package. A leading v, as
tags have it, is ignored; a version other than that of the package is refused.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    packaged = package_version()
    version = arguments[0].removeprefix("v") if arguments else packaged
    if version != packaged:
        print(f"The tag says {version}, vidpipe/__init__.py {packaged}.", file=sys.stderr)
        return 1
    section = section_of(version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if section is None:
        print(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`.", file=sys.stderr)
        return 1
    print(section)
    return 0


def package_version() -> str:
    """Return the version of the clone, without importing the package."""
    text = (ROOT / "vidpipe" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError("vidpipe/__init__.py has no __version__")
    return found[1]


def section_of(version: str, changelog: str) -> str | None:
    """Return what a changelog says about a version, without its heading; None if it has no dated section."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(rf"{heading}(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
