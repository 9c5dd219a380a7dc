"""Checks the archives that `make dist` has built, and prints their sizes.

    python scripts/check_dist.py [DIST]

Exits with status 1 if an archive of this version is missing, lacks a file that vidpipe needs, or has one that it must
not have.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from vidpipe import __version__

ROOT = Path(__file__).resolve().parents[1]
#: What an sdist has at its top, besides the files that hatchling adds to every one.
SDIST = frozenset(
    (
        "vidpipe", "rules", "docs", "workspace.yaml", "dagster.yaml", "constraints.txt", "README.md", "CHANGELOG.md",
        "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
    )
)  # fmt: skip
_ADDED = frozenset(("pyproject.toml", "PKG-INFO", ".gitignore"))
#: Files of the wheel that are no modules, and without which a new home or a page is incomplete.
_NEEDED = (
    "vidpipe/py.typed", "vidpipe/defaults/workspace.yaml", "vidpipe/defaults/dagster.yaml",
    "vidpipe/defaults/rules/categories.json", "vidpipe/defaults/rules/scenes.yaml",
    "vidpipe/defaults/rules/prompts/tags.j2", "vidpipe/models/catalogue.toml",
)  # fmt: skip
_FORBIDDEN = ("rules/questions.json", "config.local.ini", "__pycache__", ".pyc", "vidpipe_tests")


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else ROOT / "dist"
    wheel, sdist = folder / f"vidpipe-{__version__}-py3-none-any.whl", folder / f"vidpipe-{__version__}.tar.gz"
    if missing := [archive.name for archive in (wheel, sdist) if not archive.is_file()]:
        print(f"{folder} has no {' and no '.join(missing)}. Run make dist.", file=sys.stderr)
        return 1
    faults = [*wheel_faults(names_of_wheel(wheel)), *sdist_faults(names_of_sdist(sdist))]
    for fault in faults:
        print(fault, file=sys.stderr)
    for archive, names in ((sdist, names_of_sdist(sdist)), (wheel, names_of_wheel(wheel))):
        print(f"{archive.name}: {archive.stat().st_size / 1e6:.2f} MB, {len(names)} files")
    return 1 if faults else 0


def names_of_wheel(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def names_of_sdist(sdist: Path) -> list[str]:
    """Return the names of its files, without the folder that all of them are in."""
    with tarfile.open(sdist) as archive:
        return [member.name.partition("/")[2] for member in archive if member.isfile()]


def wheel_faults(names: Iterable[str]) -> list[str]:
    there = set(names)
    expected = {*_NEEDED, *(module.relative_to(ROOT).as_posix() for module in _package_files())}
    faults = [f"The wheel lacks {name}." for name in sorted(expected - there)]
    outside = [name for name in there if not name.startswith(("vidpipe/", f"vidpipe-{__version__}.dist-info/"))]
    return faults + [f"The wheel must not have {name}." for name in sorted({*outside, *_forbidden(there)})]


def sdist_faults(names: Iterable[str]) -> list[str]:
    there = set(names)
    tops = {name.partition("/")[0] for name in there}
    faults = [f"The sdist lacks {name}." for name in sorted(SDIST - tops)]
    extra = {*(tops - SDIST - _ADDED), *_forbidden(there), *(n for n in there if n.startswith("docs/screenshots/"))}
    return faults + [f"The sdist must not have {name}." for name in sorted(extra)]


def _package_files() -> Iterable[Path]:
    """Return the modules, templates and static files of the package in the clone."""
    for path in (ROOT / "vidpipe").rglob("*.*"):
        if path.is_file() and "__pycache__" not in path.parts and "defaults" not in path.parts:
            yield path


def _forbidden(names: Iterable[str]) -> list[str]:
    return [name for name in names if any(part in name for part in _FORBIDDEN)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
