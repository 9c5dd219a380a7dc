"""Every version of the rules that was applied: in the lineage, with the texts of all its files."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from vidpipe.errors import VidpipeError
from vidpipe.library import server_clock
from vidpipe.library.provenance import store_texts
from vidpipe.library.schema import Document

_FIELDS = {"_id": 0, "kind": 0}
#: Between two versions, at least.
_STEP = timedelta(milliseconds=1)


@dataclass(frozen=True)
class RuleVersion:
    """One version.

    Attributes:
        number: 1 is the first.
        at: When it was applied.
        by: Who applied it: command, page, sensor, schedule, backfill.
        versions: Resource (custom_tags, categories) -> version of its rules.
        files: File -> the id of its text in the lineage.
        changed: What it changed, in numbers; empty if that is not known.
        undid: The version that it undid.
    """

    number: int
    at: datetime
    by: str
    versions: Mapping[str, str]
    files: Mapping[str, str]
    changed: Mapping[str, Any] = field(default_factory=dict)
    undid: int | None = None


def rule_versions(lineage: Collection[Document]) -> Iterator[RuleVersion]:
    """Yield every version, latest first."""
    for row in lineage.find({"kind": "rules"}, _FIELDS).sort("number", -1):
        yield RuleVersion(**row)


def rule_version(lineage: Collection[Document], number: int) -> RuleVersion:
    """Return one version. Raises VidpipeError if there is none of this number."""
    row = lineage.find_one({"_id": f"rules:{number}"}, _FIELDS)
    if row is None:
        raise VidpipeError(f"There is no version {number} of the rules.", "`vidpipe rules history` lists the versions.")
    return RuleVersion(**row)


def texts_of(lineage: Collection[Document], version: RuleVersion) -> dict[str, str]:
    """Return the texts of its files."""
    rows = lineage.find({"_id": {"$in": list(version.files.values())}}, {"text": 1})
    texts = {row["_id"]: row["text"] for row in rows}
    return {name: texts[id] for name, id in version.files.items()}


def text_diff(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, list[str]]:
    """Return file -> lines of a unified diff, for each file that differs."""
    found = {}
    for name in sorted(old.keys() | new.keys()):
        before, after = (texts.get(name, "").splitlines() for texts in (old, new))
        if lines := list(difflib.unified_diff(before, after, name, name, lineterm="")):
            found[name] = lines
    return found


def record_version(
    lineage: Collection[Document], texts: Mapping[str, str], versions: Mapping[str, str], by: str, **facts: Any
) -> bool:
    """Record that rules with these texts are applied, unless they are those of the latest version.

    Args:
        lineage: The collection.
        texts: File -> text.
        versions: See `RuleVersion`.
        by: See `RuleVersion`.
        **facts: `changed` and `undid` of `RuleVersion`.

    Returns:
        Whether it was recorded.
    """
    hashes = {name: f"file:{hashlib.sha256(text.encode()).hexdigest()[:32]}" for name, text in texts.items()}
    files = {name: f"text:{hashed}" for name, hashed in hashes.items()}
    while True:
        latest = next(rule_versions(lineage), None)
        if latest is not None and latest.files == files:
            return False
        store_texts(lineage, {hashed: texts[name] for name, hashed in hashes.items()})
        number, at = (latest.number + 1, latest.at + _STEP) if latest else (1, datetime.min.replace(tzinfo=UTC))
        made = RuleVersion(number, max(server_clock.now(), at), by, versions, files, **facts)  # clocks may be set back
        try:
            lineage.insert_one({"_id": f"rules:{made.number}", "kind": "rules", **asdict(made)})
        except DuplicateKeyError:
            continue  # another process was faster
        return True
