"""Finds and overwrites what identifies removed videos outside the library: in logs, exported files and notes.

Text in log files is overwritten in place by as many bytes, since running processes append to them.
"""

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, unquote

import bson

from vidpipe.library import exports
from vidpipe.library.library import Library
from vidpipe.library.queries.export import replacing
from vidpipe.operations.services.state import dagster_home
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings
from vidpipe.settings.logs import AUDIT_NAME

_BLOCK_BYTES = 1 << 20
_URL_SAFE = "/:?&=#%+@,;~"
#: Shorter texts are in too many lines that are about something else.
_MIN_CHARS = 4
#: Longer texts with a space are sentences, which identify a video; shorter ones are settings, tags and names of models.
_SENTENCE_CHARS = 20
#: Fields of documents whose values are names.
_NAMING = {"names", "titles", "urls", "url", "final_url", "file_name", "title", "note"}
#: Such texts are about one video. Others, such as a title of one word, may be in the events of any run.
_FILE_OR_URL = re.compile(r".*(\.\w{2,5}|://.*)", re.DOTALL)
#: These lines of audit.jsonl are the record of a removal, which names videos by their hashes.
_RECORD = b'"event": "forget'


class Traces:
    """What identifies some videos.

    Args:
        ids: Their hashes.
        texts: Names, titles, URLs and sentences about them.
    """

    def __init__(self, ids: Iterable[str], texts: Iterable[str]) -> None:
        self.ids = frozenset(ids)
        self._hashes = {form.encode() for sha256 in self.ids for form in (sha256, sha256[:12])}
        known = {text for text in texts if len(text) >= _MIN_CHARS}
        self._texts = _forms(known)
        self._names = _forms(filter(_FILE_OR_URL.fullmatch, known))

    def name(self, content: bytes) -> bool:
        """Return whether a file name or URL of the videos is in `content`."""
        return any(_pattern(form).search(content) for form in self._names if form in content)

    def masked(self, content: bytes) -> bytes:
        """Return whole lines with every text and hash overwritten by asterisks."""
        forms = sorted((form for form in self._texts | self._hashes if form in content), key=len, reverse=True)
        lines = content.splitlines(keepends=True) if forms else [content]
        for number, line in enumerate(lines):
            for form in (form for form in forms if form in line and not (form in self._hashes and _RECORD in line)):
                lines[number] = _pattern(form).sub(lambda found: b"*" * len(found[0]), lines[number])
        return b"".join(lines)


def _forms(texts: Iterable[str]) -> set[bytes]:
    """Return the texts as they are in logs, URLs, JSON and JSON within JSON."""
    spelled = {form for text in texts for form in (text, unquote(text), quote(text), quote(text, safe=_URL_SAFE))}
    forms = {form for text in spelled for form in (text, json.dumps(text)[1:-1], json.dumps(json.dumps(text))[3:-3])}
    return {form.encode("utf-8", "surrogateescape") for form in forms}


def _pattern(form: bytes) -> re.Pattern[bytes]:
    """Match whole words, but no keys of JSON objects."""
    return re.compile(rb'(?<!\w)(?<!"event": ")' + re.escape(form) + rb'(?!\w|":)')


def texts_of(value: Any, key: str = "") -> Iterator[str]:
    """Yield the names and sentences in documents, or in the value of a field of one."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from texts_of(entry, name)
    elif isinstance(value, list):
        for entry in value:
            yield from texts_of(entry, key)
    elif isinstance(value, str) and (key in _NAMING or (len(value) >= _SENTENCE_CHARS and " " in value)):
        yield from (value, value.removeprefix("file://"), *([PurePath(value).stem] if key in _NAMING else ()))


def overwrite_logs(settings: Settings, traces: Traces, dry_run: bool) -> int:
    """Overwrite traces in all log files and captured outputs of runs. Returns the number of files with any."""
    log = settings.resolve(settings.logging.log_file)
    folders = (settings.data_directory / "logs", dagster_home(settings) / "storage")
    paths = {path for folder in folders for path in folder.rglob("*")}
    paths |= {path for name in (log.name, AUDIT_NAME) for path in log.parent.glob(f"{name}*")}
    files = (path for path in sorted(paths) if path.is_file() and not path.is_symlink())
    return sum(_overwrite(path, traces, dry_run) for path in files)


def _overwrite(path: Path, traces: Traces, dry_run: bool) -> bool:
    times, changed = path.stat(), False
    if path.suffix == ".gz":
        old = gzip.decompress(path.read_bytes())
        changed = (new := traces.masked(old)) != old
        if changed and not dry_run:
            replace_file(path, gzip.compress(new), 0o600)
    else:
        with path.open("rb" if dry_run else "r+b") as file:
            while block := b"".join(file.readlines(_BLOCK_BYTES)):
                if (new := traces.masked(block)) != block:
                    changed = True
                    if not dry_run:
                        file.seek(-len(block), os.SEEK_CUR)
                        file.write(new)
    if changed and not dry_run:  # [Retention] goes by the age
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return changed


def overwrite_notes(library: Library, traces: Traces) -> None:
    """Overwrite traces in documents that may quote any source: problems of lists, figures of runs, alerts."""
    for collection in (library.collections["meta"], library.collections["runs"]):
        for row in collection.find():
            key, before = row.pop("_id"), bson.encode(row)
            if (after := traces.masked(before)) != before:  # a string keeps its length
                collection.update_one({"_id": key}, {"$set": bson.decode(after)})


def remove_from_exports(library: Library, traces: Traces, dry_run: bool) -> dict[str, list[str]]:
    """Remove videos from exported files that still exist.

    Returns:
        Destinations: "exports" that contained videos, and "exports to check": in stores, or unreadable.
    """
    found: dict[str, list[str]] = {"exports": [], "exports to check": []}
    for export in exports.recorded(library.collections):
        try:
            if "://" in export["destination"]:
                found["exports to check"].append(export["destination"])
            elif _filter(Path(export["destination"]), export["format"], traces.ids, dry_run):
                found["exports"].append(export["destination"])
        except (OSError, ValueError, LookupError):
            found["exports to check"].append(export["destination"])
    return found


def _filter(path: Path, form: str, ids: frozenset[str], dry_run: bool) -> bool:
    """Remove the videos from an export, and return whether it contained any."""
    if form == "json" or not path.exists():
        files = [file for sha256 in ids if (file := path / f"{sha256}.json").is_file()]
        for file in files if not dry_run else ():
            file.unlink()
        return bool(files)
    with path.open("rb") as old:
        if form == "parquet":
            import pyarrow.parquet as pq

            contained = bool(pq.read_table(path, columns=["video"], filters=[("video", "in", ids)]).num_rows)
        else:
            contained = any(not ids.isdisjoint(map(bytes.decode, re.findall(rb"[0-9a-f]{64}", line))) for line in old)
        if contained and not dry_run:
            old.seek(0)
            with replacing(path) as made:
                if form == "parquet":
                    pq.write_table(pq.read_table(path, filters=[("video", "not in", ids)]), made)
                elif form == "jsonl":
                    made.writelines(line for line in old if json.loads(line)["video"]["sha256"] not in ids)
                else:
                    text = io.TextIOWrapper(made, "utf-8", newline="")
                    rows = csv.reader(io.TextIOWrapper(old, "utf-8", newline=""))
                    csv.writer(text, lineterminator="\n").writerows(row for row in rows if row[0] not in ids)
                    text.detach()
    return contained
