"""Writes docs/licenses.md: the licences of everything that vidpipe installs, starts or downloads.

    python scripts/licenses.py [--check]

Licences are those that the installed packages declare. With --check, it writes nothing and exits with status 1 if the
page is out of date.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vidpipe.models.catalogue import catalogue

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licenses.md"
#: Extras of developers; everything else can be part of what a user runs.
DEVELOPMENT = ("dev", "qwen-tests", "screenshots", "docs", "release")
#: How packages without an SPDX expression state their licence -> SPDX.
_SPDX = {
    "mit": "MIT", "mit license": "MIT", "the mit license (mit)": "MIT",
    "apache": "Apache-2.0", "apache2": "Apache-2.0", "apache-2.0": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD", "bsd license": "BSD", "bsd 2-clause license": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause", "isc license (iscl)": "ISC", "the unlicense (unlicense)": "Unlicense",
    "psfl": "PSF-2.0", "python software foundation license": "PSF-2.0",
    "mpl-2.0": "MPL-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "epl-2.0 or gpl-2.0-or-later": "EPL-2.0 OR GPL-2.0-or-later", "gpl-3.0": "GPL-3.0",
    "lgpl with exceptions": "LGPL with exceptions", "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
}  # fmt: skip
#: Packages whose metadata do not say it, with where it is said.
_DECLARED_ELSEWHERE = {
    "pyftpdlib": "MIT",  # its LICENSE file
    "axe-playwright-python": "MIT",  # its repository; axe-core inside is MPL-2.0
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # has no files, only requirements
}
_RESTRICTED = re.compile(r"GPL|MPL|EPL|SSPL|CDDL|Proprietary|undeclared", re.IGNORECASE)


def main(arguments: list[str]) -> int:
    page = build_page()
    if "--check" in arguments:
        if PAGE.read_text(encoding="utf-8") != page:
            print("docs/licenses.md is out of date. Run make licenses.", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written")
    return 0


def build_page() -> str:
    text = (ROOT / "scripts" / "licenses.template.md").read_text(encoding="utf-8")
    tables = {
        "DIRECT": _direct(user=True),
        "INDIRECT": _indirect(),
        "DEVELOPMENT": _direct(user=False),
        "MODELS": _models(),
    }
    for name, rows in tables.items():
        text = text.replace(f"<!-- {name} -->", "\n".join(rows))
    return text


def groups() -> dict[str, list[Requirement]]:
    """Return extra -> what it requires besides other extras; "" is the base installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts: Mapping[str, list[str]] = {"": project["dependencies"], **project["optional-dependencies"]}
    every = {name: [Requirement(text) for text in wanted] for name, wanted in texts.items()}
    return {name: [one for one in wanted if one.name != "vidpipe"] for name, wanted in every.items()}


def _direct(*, user: bool) -> Iterator[str]:
    yield "| package | required | pinned | licence | extra |"
    yield "| --- | --- | --- | --- | --- |"
    seen = set()
    for extra, wanted in groups().items():
        for one in wanted:
            if (extra not in DEVELOPMENT) != user or (not user and one.name in seen):
                continue
            seen.add(one.name)
            required = re.sub(r"^,|,$", "", ",".join(sorted(map(str, one.specifier), reverse=True))) or "any"
            yield f"| {one.name} | {required} | {_version(one.name)} | {licence(one.name)} | {extra or '–'} |"


def _indirect() -> Iterator[str]:
    yield "| package | pinned | licence |"
    yield "| --- | --- | --- |"
    wanted = [one for extra, all_of in groups().items() if extra not in DEVELOPMENT for one in all_of]
    direct = {canonicalize_name(one.name) for one in wanted}
    for name in sorted(_closure(wanted) - direct):
        yield f"| {name} | {_version(name)} | {licence(name)} |"


def _closure(wanted: Iterable[Requirement]) -> set[str]:
    """Return the names of all installed packages that the requirements lead to."""
    found: set[tuple[str, str]] = set()
    waiting = [(one.name, extra) for one in wanted for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        key = (canonicalize_name(name), extra)
        if key in found:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        found.add(key)
        for one in map(Requirement, requires):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(one.name, further) for further in ("", *one.extras)]
    return {name for name, _ in found}


def _models() -> Iterator[str]:
    yield "| model | for | licence of the weights | published by |"
    yield "| --- | --- | --- | --- |"
    for entry in catalogue().values():
        yield f"| {entry.name} | {entry.purpose} | {_marked(entry.licence)} | <{entry.upstream}> |"


def licence(name: str) -> str:
    """Return the licence that an installed package declares, in bold if it is more than permissive."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    if expression := metadata.get("License-Expression"):
        return _marked(expression)
    stated = (metadata.get("License") or "").strip()
    classified = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if "License ::" in line]
    for text in (stated, *classified):
        if known := _SPDX.get(text.lower()):
            return _marked(known)
    short = stated if 0 < len(stated) < 60 and stated != "UNKNOWN" and "\n" not in stated else ""
    return _marked(_DECLARED_ELSEWHERE.get(canonicalize_name(name)) or short or "undeclared")


def _marked(text: str) -> str:
    return f"**{text}**" if _RESTRICTED.search(text) else text


def _version(name: str) -> str:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return next((v for n, v in pinned.items() if canonicalize_name(n) == canonicalize_name(name)), "–")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
