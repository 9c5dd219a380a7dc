"""The data card of an exported dataset: README.md as the Hugging Face Hub reads it, with what is known and no more."""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from vidpipe.datasets.statistics import UNKNOWN
from vidpipe.datasets.versions import DatasetVersion
from vidpipe.errors import visible

#: Names of one kind in a card.
_MOST_NAMES = 50
_LONGEST_TEXT = 1000
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKUP = re.compile(r"([\\`*_\[\]()#|~!$])")
#: Arguments that a card shows; others name files of a machine.
_SHOWN = ("where", "search", "scenes", "length_s")
_KINDS = ("label", "tag", "category", "description from", "licence", "site")
_LIMITS = """\
## Known limits

- Labels are what lists and people state; they were not verified. Tags and categories are given by rules and models and
  have errors: `vidpipe evaluate` compares them with labels.
- Descriptions from measurements tell of brightness, color and motion; no model has seen what they are about.
- Licences are those that lists and sites state. An unknown licence permits nothing.
- Splits keep together only what is named under "How it was made".
"""


def card(statistics: Mapping[str, Any], version: DatasetVersion | None = None) -> bytes:
    """Return the card of exported items.

    Args:
        statistics: Of the items that were exported.
        version: The version that they are of; None: they were exported without one.
    """
    licences = [one["name"] for one in statistics["counts"].get("licence", ())]
    front = {
        "pretty_name": version.reference if version else "vidpipe export",
        "license": UNKNOWN if UNKNOWN in licences or not licences else "other",
        "size_categories": [next((name for most, name in _SIZES if statistics["items"] < most), "n>1M")],
        "task_categories": ["video-classification"],
        "tags": ["video"],
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{report(statistics, version)}\n{_LIMITS}".encode()


def report(statistics: Mapping[str, Any], version: DatasetVersion | None = None) -> str:
    """Return what is known of items in Markdown: sizes, balance, origins and leaks. See `card`."""
    counts = statistics["counts"]
    splits = {name: one for name, one in statistics["splits"].items() if name}
    lines = [f"# {version.reference if version else 'vidpipe export'}", ""]
    lines += _table(("split", "items", "videos", "hours", "without a stated label"), [
        (name, one["items"], one["videos"], f"{one['duration_s'] / 3600:.2f}", one["unlabelled"])
        for name, one in (("all", statistics), *splits.items())
    ])  # fmt: skip
    lines += ["## How it was made", "", *_made(version)]
    for kind in (*(kind for kind in _KINDS if kind in counts), *sorted(counts.keys() - _KINDS)):
        lines += _table(
            (kind, "items", *splits),
            [(one["name"], one["items"], *(one["splits"].get(split, 0) for split in splits))
             for one in counts[kind][:_MOST_NAMES]],
        )  # fmt: skip
        if len(counts[kind]) > _MOST_NAMES:
            lines += ["Other names are not shown.", ""]
    return "\n".join(lines)


def _made(version: DatasetVersion | None) -> Iterator[str]:
    if version is None:
        yield "Exported from a library without a dataset version: no splits, and no check for near-duplicates."
    else:
        shown = {name: version.arguments[name] for name in _SHOWN if version.arguments.get(name)}
        yield f"- Version of {version.created_at:%Y-%m-%d %H:%M:%S} UTC, contents {version.sha256[:16]}."
        how = "all videos" if version.arguments.get("all") else "name"
        yield f"- Selected by: {_plain(json.dumps(shown, sort_keys=True, ensure_ascii=False)) if shown else how}."
        shares = " / ".join(f"{name} {share:.1%}" for name, share in version.shares.items()) or "none"
        yield f"- Splits asked for: {shares}; by {', '.join(version.by)}; seed {version.seed}."
        said = "every video was compared with the others" if version.duplicates_checked else "not checked"
        yield f"- Near-duplicates: {said}."
        found = ", ".join(f"{kind}: {count}" for kind, count in version.leaks.items())
        yield f"- Found in more than one split when it was made: {found}."
        yield from (f"- {_plain(warning)}" for warning in version.warnings)
    yield ""


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(one if one == '---' else _plain(one) for one in line)} |" for line in lines), ""]


def _plain(value: Any) -> str:
    """Return a text of unknown origin on one line, without markup and cut to a length."""
    text = visible(re.sub(r"\s+", " ", str(value)))
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    return _MARKUP.sub(r"\\\1", html.escape(cut, quote=False))
