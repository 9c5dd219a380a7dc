"""Versions of datasets: named, numbered and immutable. Their items are stored as they were, with their splits.

Items are written first, each with the id of its version, and the version's own document last: it exists only with all
of its items. What a killed process left is removed by the next one.
"""

import hashlib
import json
import re
import tempfile
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import IO, Any

import bson
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from vidpipe.datasets.duplicates.library import duplicate_links
from vidpipe.datasets.groups import DUPLICATES, leaks, linked_groups, source_links
from vidpipe.datasets.item import DatasetItem
from vidpipe.datasets.splits import split_groups
from vidpipe.datasets.statistics import DatasetStatistics
from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked

#: What `SplitOrder.by` may name.
BY = ("label", "source", "group")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REFERENCE = re.compile(rf"({_NAME.pattern})(?:@([1-9]\d{{0,8}}))?")
#: Items without a version that nobody has added to for this long are left over, on whatever machine.
_ABANDONED_AFTER = timedelta(hours=1)
_BATCH = 500


@dataclass(frozen=True)
class SplitOrder:
    """How a version is split.

    Attributes:
        shares: Split -> its share of 1; empty: no splits.
        by: label balances labels; source and group keep sources and near-duplicates together.
        seed: Of the split.
    """

    shares: Mapping[str, float]
    by: tuple[str, ...] = ("label", "group")
    seed: int = 0


@dataclass(frozen=True)
class DatasetVersion:
    """A version, without its items.

    Attributes:
        name: Name of the dataset.
        version: 1 is the first.
        items_id: Id of its items in the collection.
        created_at: When it was made.
        created_by: Who made it.
        arguments: What was asked for.
        shares: See `SplitOrder`.
        by: See `SplitOrder`.
        seed: See `SplitOrder`.
        duplicates_checked: Whether every video was compared with the others.
        leaks: Kind -> how many of that kind span splits.
        warnings: Wishes that could not be met.
        statistics: See `DatasetStatistics`.
        sha256: Of its contents.
    """

    name: str
    version: int
    items_id: str
    created_at: datetime
    created_by: str
    arguments: Mapping[str, Any]
    shares: Mapping[str, float]
    by: Sequence[str]
    seed: int
    duplicates_checked: bool
    leaks: Mapping[str, int]
    warnings: Sequence[str]
    statistics: Mapping[str, Any]
    sha256: str

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


def versions_of(library: Library, name: str | None = None) -> Iterator[DatasetVersion]:
    """Yield the versions of a dataset, or of all, by name, the latest first."""
    query = {} if name is None else {"name": name}
    for row in library.collections["datasets"].find(query, {"_id": 0}).sort([("name", 1), ("version", -1)]):
        yield DatasetVersion(**row)


def version_named(library: Library, reference: str) -> DatasetVersion:
    """Return the version NAME@V, or the latest of NAME.

    Raises:
        VidpipeError: There is none.
    """
    found = _REFERENCE.fullmatch(reference)
    versions = versions_of(library, found[1]) if found else iter(())
    for one in versions:
        if found and found[2] in (None, str(one.version)):
            return one
    raise VidpipeError(f"There is no dataset {reference}.", "`vidpipe dataset list` shows all; a version is NAME@2.")


def create_version(
    library: Library, name: str, items: Iterable[DatasetItem], order: SplitOrder, *, by: str,
    arguments: Mapping[str, Any], cancelled: Event, progress: Callable[[int], None] = lambda number: None,
) -> tuple[DatasetVersion | None, bool]:  # fmt: skip
    """Store items as the next version of a dataset, unless they equal its latest version.

    Args:
        library: The library.
        name: Of the dataset.
        items: The items; those of one video follow each other.
        order: How they are split. Videos of earlier versions keep their splits.
        by: Who makes it.
        arguments: What was asked for; kept with the version.
        cancelled: Stops the work; nothing remains.
        progress: Called with the number of items read.

    Returns:
        The version, and whether it is new; (None, False) if it was cancelled.

    Raises:
        SettingsError: The name or a criterion is not allowed.
        VidpipeError: There are no items.
    """
    if not _NAME.fullmatch(name) or set(order.by) - set(BY):
        if _NAME.fullmatch(name):
            raise SettingsError(f"--by {','.join(order.by)} is not allowed.", f"--by takes {', '.join(BY)}.")
        raise SettingsError(f'The name "{name}" is not allowed.', "Use letters, digits and . _ - without a version.")
    _remove_abandoned(library)
    with tempfile.TemporaryFile() as spool:  # splits are known when all items are
        members: list[tuple[str, tuple[str, ...]]] = []
        known: dict[Any, Any] = {}
        for item in items:
            text = json.dumps(item.model_dump(mode="json", exclude={"split", "group"}), sort_keys=True).encode()
            row = {"key": item.key, "video": item.video, "hash": hashlib.sha256(text).hexdigest()}
            spool.write(bson.encode({"position": len(members), **row, "json": zlib.compress(text)}))
            labels = (item.labels or (item.label,)) if "label" in order.by else ()
            members.append((known.setdefault(item.video, item.video), known.setdefault(labels, labels)))
            progress(len(members))
        if not members and not cancelled.is_set():
            raise VidpipeError("No video is selected that has metadata.", "Select others, or `vidpipe run` first.")
        while not cancelled.is_set():
            made = _write(library, name, spool, members, order, by=by, arguments=arguments, cancelled=cancelled)
            if made is not None:
                return made
    return None, False


def _write(
    library: Library, name: str, spool: IO[bytes], members: Sequence[tuple[str, tuple[str, ...]]], order: SplitOrder,
    *, by: str, arguments: Mapping[str, Any], cancelled: Event,
) -> tuple[DatasetVersion, bool] | None:  # fmt: skip
    """Split and store the items; None: cancelled, or another process made a version meanwhile."""
    videos = list(dict.fromkeys(video for video, _ in members))
    earlier = list(versions_of(library, name))
    duplicates, compared = duplicate_links(library, videos)
    checked = compared == len(videos)
    links = [*duplicates] if "group" in order.by else []
    links += source_links(library, videos) if "source" in order.by else ()
    groups, before = linked_groups(videos, links), _earlier_splits(library, earlier)
    kept: dict[str, set[str]] = {}
    for video in before.keys() & groups.keys():
        kept.setdefault(groups[video], set()).add(before[video])
    asked = ((groups[video], labels) for video, labels in members)
    plan = split_groups(asked, order.shares, seed=order.seed, before=kept)
    split_of = {video: plan.splits[groups[video]] for video in videos}
    ways = ((before[video], split_of[video]) for video in before.keys() & groups.keys())
    moved = Counter(f"{was} to {now or 'no split'}" for was, now in ways if was != now)
    warnings = [
        *plan.warnings,
        *(
            f"{count} {'video moves' if count == 1 else 'videos move'} from {way}."
            for way, count in sorted(moved.items())
        ),
    ]
    if not checked:
        missing = f"{len(videos) - compared} of {len(videos)} videos have no fingerprint"
        warnings.append(f"Near-duplicates were not checked: {missing}.")
    statistics, digest = DatasetStatistics(), hashlib.sha256(repr(checked).encode())
    for row in _spooled(spool, groups, split_of):
        statistics.add(_item(row))
        digest.update("\0".join((row["key"], row["split"], row["group"], row["hash"])).encode() + b"\n")
    if earlier and earlier[0].sha256 == digest.hexdigest():
        return earlier[0], False
    links = [*duplicates, *source_links(library, videos)]
    made = DatasetVersion(
        name=name, version=(earlier[0].version if earlier else 0) + 1,
        items_id=f"{this_process()}|{uuid.uuid4().hex[:8]}",
        created_at=datetime.now(UTC).replace(microsecond=0), created_by=by, arguments=arguments, shares=order.shares,
        by=order.by, seed=order.seed, duplicates_checked=checked, warnings=warnings, sha256=digest.hexdigest(),
        leaks=({DUPLICATES: 0} if checked else {}) | leaks(split_of, links), statistics=statistics.as_document(),
    )  # fmt: skip
    return (made, True) if _store(library, made, _spooled(spool, groups, split_of), cancelled) else None


def _earlier_splits(library: Library, versions: Sequence[DatasetVersion]) -> dict[str, str]:
    """Return video -> the split of the latest version that has the video."""
    rows = (row for version in reversed(versions) for row in _rows(library, version))
    return {row["video"]: row["split"] for row in rows if row["split"]}


def _store(library: Library, version: DatasetVersion, rows: Iterator[Document], cancelled: Event) -> bool:
    """Store a version; return whether it exists now: it may be cancelled, or another process may be faster."""
    stored, heads = library.collections["dataset_items"], library.collections["datasets"]
    try:
        for batch in chunked(rows, _BATCH):
            if cancelled.is_set():
                return False
            stored.insert_many([{"dataset": version.items_id, **row} for row in batch])
        heads.insert_one({"_id": version.reference, **asdict(version)})
        return True
    except DuplicateKeyError:
        return False
    finally:
        if heads.find_one({"items_id": version.items_id}) is None:
            stored.delete_many({"dataset": version.items_id})


def _remove_abandoned(library: Library) -> None:
    """Remove items whose version was never completed."""
    stored, limit = library.collections["dataset_items"], datetime.now(UTC) - _ABANDONED_AFTER
    for one in stored.distinct("dataset"):
        newest: Document = stored.find_one({"dataset": one}, {"_id": 1}, sort=[("position", -1)]) or {"_id": ObjectId()}
        abandoned = is_dead(one.rpartition("|")[0]) or newest["_id"].generation_time < limit
        # Asked last: a process that is dead by now may have completed its version before.
        if abandoned and library.collections["datasets"].find_one({"items_id": one}) is None:
            stored.delete_many({"dataset": one})


def _spooled(spool: IO[bytes], groups: Mapping[str, str], split_of: Mapping[str, str]) -> Iterator[Document]:
    spool.seek(0)
    for row in bson.decode_file_iter(spool):
        yield {**row, "split": split_of[row["video"]], "group": groups[row["video"]]}


def _item(row: Mapping[str, Any]) -> DatasetItem:
    fields = json.loads(zlib.decompress(row["json"]))
    return DatasetItem.model_validate({**fields, "split": row["split"], "group": row["group"]})


def _pages(library: Library, version: DatasetVersion, fields: Document | None = None) -> Iterator[list[Document]]:
    """Yield the rows of a version in order. Exports take longer than a cursor lives."""
    of_version, last = {"dataset": version.items_id}, -1
    stored = library.collections["dataset_items"]
    while page := list(
        stored.find({**of_version, "position": {"$gt": last}}, fields).sort("position", 1).limit(_BATCH)
    ):
        yield page
        last = page[-1]["position"]


def _rows(library: Library, version: DatasetVersion) -> Iterator[Document]:
    for page in _pages(library, version, {"json": 0}):
        yield from page


def items_left(library: Library, version: DatasetVersion) -> int:
    """Return how many items of a version there are: those of forgotten videos are removed."""
    return library.collections["dataset_items"].count_documents({"dataset": version.items_id})


def stored_items(library: Library, version: DatasetVersion) -> Iterator[DatasetItem]:
    """Yield the items of a version as they were, except those of videos that the library has no more."""
    for page in _pages(library, version):
        wanted = {"_id": {"$in": [row["video"] for row in page]}}
        known = {row["_id"] for row in library.collections["videos"].find(wanted, {"_id": 1})}
        yield from (_item(row) for row in page if row["video"] in known)


def compare_versions(library: Library, old: DatasetVersion, new: DatasetVersion) -> dict[str, list[Document]]:
    """Return what differs: added and removed items, those moved to another split, and those with other labels or tags.

    `other` has the items in which only something else differs, such as a description or the version of the rules.
    """
    before = {row["key"]: row for row in _rows(library, old)}
    found: dict[str, list[Document]] = {name: [] for name in ("added", "removed", "moved", "labels", "tags", "other")}
    changed: list[tuple[Document, Document]] = []
    for row in _rows(library, new):
        about, was = {"key": row["key"], "video": row["video"]}, before.pop(row["key"], None)
        if was is None:
            found["added"].append({**about, "split": row["split"]})
            continue
        if was["split"] != row["split"]:
            found["moved"].append({**about, "before": was["split"], "after": row["split"]})
        if was["hash"] != row["hash"]:
            changed.append((was, row))
    found["removed"] = [{name: row[name] for name in ("key", "video", "split")} for row in before.values()]
    for chunk in chunked(changed, _BATCH):
        ids = {"_id": {"$in": [row["_id"] for pair in chunk for row in pair]}}
        items = {row["_id"]: _item(row) for row in library.collections["dataset_items"].find(ids)}
        for one in chunk:
            a, b = (items[row["_id"]] for row in one)
            values = [{"labels": list(item.labels), "tags": [tag.tag for tag in item.tags]} for item in (a, b)]
            differing = [name for name in ("labels", "tags") if values[0][name] != values[1][name]]
            for name in differing or ["other"]:
                pair = zip(("before", "after"), (value[name] for value in values if differing), strict=False)
                found[name].append({"key": a.key, "video": a.video, **dict(pair)})
    return found
