"""Finds and overwrites what identifies removed videos outside the library: in logs, exported files and notes.

Text in log files is overwritten in place by as many bytes, since running processes append to them.
"""

import csv
import gzip
import io
import json
import mmap
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote, unquote

from vidpipe.library import exports
from vidpipe.library.library import Library
from vidpipe.library.queries.export import replacing
from vidpipe.operations.services.state import dagster_home
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings
from vidpipe.settings.logs import AUDIT_NAME

_BLOCK_BYTES = 1 << 20
_URL_SAFE = "/:?&=#%+@,;~"
#: Shorter texts are in many lines that are about something else.
_MIN_CHARS = 4
#: Longer texts with a space are sentences, which identify a video; shorter ones are settings, tags and names of models.
_SENTENCE_CHARS = 20
#: Fields of documents whose values are names.
_NAMING = {"names", "titles", "urls", "url", "final_url", "file_name", "title", "note"}
_WORD = re.compile(rb"\w+")
_SHA256 = re.compile(rb"[0-9a-f]{64}")
#: Such texts are about one video. Others, such as a title of one word, may be in the events of any run.
_FILE_OR_URL = re.compile(r".*(\.\w{2,5}|://.*)", re.DOTALL)
#: These lines of audit.jsonl are the record of a removal, which names videos by their hashes.
_RECORD = b'"event": "forget'


class Traces:
    """What identifies some videos.

    Args:
        ids: Their hashes.
        texts: Names, titles, URLs and sentences about them.
        shared: Texts that other videos have, too. Like short ones, they are only overwritten in lines that contain a
            hash or another text of the videos.
    """

    def __init__(self, ids: Iterable[str], texts: Iterable[str], shared: Collection[str] = ()) -> None:
        self.ids = frozenset(ids)
        self._hashes = {form.encode() for sha256 in self.ids for form in (sha256, sha256[:12])}
        known = set(texts)
        own = {text for text in known.difference(shared) if len(text) >= _MIN_CHARS}
        self._own = self._hashes | _forms(own)
        self._names = _forms(filter(_FILE_OR_URL.fullmatch, own))
        self._by_word: dict[bytes, list[bytes]] = {}
        for form in self._own | _forms(known - {""}):
            self._by_word.setdefault(max(_WORD.findall(form), key=len, default=b""), []).append(form)

    def _within(self, content: bytes) -> list[bytes]:
        """Return what is in the content, the longest first. Takes as long for many videos as for one."""
        words = {b"", *_WORD.findall(content)}
        forms = {form for word in words for form in self._by_word.get(word, ()) if form in content}
        return sorted((form for form in forms if _pattern(form).search(content)), key=len, reverse=True)

    def name(self, content: bytes) -> bool:
        """Return whether a file name or URL of the videos is in `content`."""
        return not self._names.isdisjoint(self._within(content))

    def masked(self, content: bytes) -> bytes:
        """Return whole lines with every text and hash overwritten by asterisks."""
        lines = [content] if self._own.isdisjoint(self._within(content)) else content.splitlines(keepends=True)
        for number, line in enumerate(lines):
            forms = self._within(line)
            for form in forms if not self._own.isdisjoint(forms) else ():
                if not (form in self._hashes and _RECORD in line):
                    lines[number] = _pattern(form).sub(lambda found: b"*" * len(found[0]), lines[number])
        return b"".join(lines)


def _forms(texts: Iterable[str]) -> set[bytes]:
    """Return the texts as they are in logs, URLs, JSON and JSON within JSON."""
    spelled = {form for text in texts for form in (text, unquote(text), quote(text), quote(text, safe=_URL_SAFE))}
    forms = {form for text in spelled for form in (text, json.dumps(text)[1:-1], json.dumps(json.dumps(text))[3:-3])}
    return {form.encode("utf-8", "surrogateescape") for form in forms}


@lru_cache(maxsize=100_000)
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
    """Overwrite traces in documents that may quote any source: problems of lists, runs, alerts, heads of datasets."""
    for collection in map(library.collections.__getitem__, ("meta", "runs", "datasets")):
        for row in collection.find():
            key = row.pop("_id")
            if (after := _masked_values(row, traces)) != row:
                collection.update_one({"_id": key}, {"$set": after})


def _masked_values(value: Any, traces: Traces) -> Any:
    """Return a value with traces overwritten in its strings, but in no keys and words such as states."""
    if isinstance(value, Mapping):
        return {key: _masked_values(entry, traces) for key, entry in value.items()}
    if isinstance(value, list):
        return [_masked_values(entry, traces) for entry in value]
    if not isinstance(value, str) or value.isidentifier():
        return value
    return traces.masked(value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


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
    if (path / exports.STATE).is_file():
        return bool(ids) and _filter_folder(path, ids, dry_run)
    if form == "json" or not path.exists():
        files = [file for sha256 in ids if (file := path / f"{sha256}.json").is_file()]
        for file in files if not dry_run else ():
            file.unlink()
        return bool(files)
    with path.open("rb") as old:
        if form == "parquet":
            import pyarrow.parquet as pq

            column = "video_sha256" if "video_sha256" in pq.read_schema(path).names else "video"
            read = partial(pq.read_table, path, partitioning=None)  # no column for a folder category=NAME
            contained = bool(read(columns=[column], filters=[(column, "in", ids)]).num_rows)
        else:
            contained = any(found.decode() in ids for line in old for found in _SHA256.findall(line))
        if contained and not dry_run:
            old.seek(0)
            with replacing(path) as made:
                if form == "parquet":
                    pq.write_table(read(filters=[(column, "not in", ids)]), made)
                elif form == "jsonl":
                    made.writelines(line for line in old if json.loads(line)["video"]["sha256"] not in ids)
                else:
                    text = io.TextIOWrapper(made, "utf-8", newline="")
                    rows = csv.reader(io.TextIOWrapper(old, "utf-8", newline=""))
                    csv.writer(text, lineterminator="\n").writerows(row for row in rows if row[0] not in ids)
                    text.detach()
    return contained


def _filter_folder(folder: Path, ids: frozenset[str], dry_run: bool) -> bool:
    """Remove the videos from a dataset, whose files and rows have keys or are made of what begins like the hashes.

    Raises:
        LookupError: A file such as an archive still contains some.
    """
    state = json.loads((folder / exports.STATE).read_bytes())
    keys = re.compile(b"|".join(sorted(sha256[: exports.KEY_DIGITS].encode() for sha256 in ids)))
    found, left = False, list[str]()
    for name in sorted(state.keys() - {exports.STATE}):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():  # the state is a file that others may edit
            continue
        if keys.search(f"{name} {state[name]}".encode("utf-8", "surrogatepass")):
            found = True
            if not dry_run:
                path.unlink()
                del state[name]
        elif path.suffix == ".parquet":
            try:
                found |= _filter(path, "parquet", ids, dry_run)
            except (OSError, ValueError, LookupError):
                left.append(name)
        elif _contains(path, keys):
            found = True
            if path.suffix not in _WITHOUT:
                left.append(name)
            elif not dry_run:
                state[name] = ""  # so that a later export writes it again
                content = _WITHOUT[path.suffix](path.read_text("utf-8"), keys)
                replace_file(path, content.encode())
    if found and not dry_run:
        replace_file(folder / exports.STATE, json.dumps(state, indent=0, sort_keys=True).encode())
    if left:
        raise LookupError(f"{folder}: {', '.join(left)}")
    return found


def _contains(path: Path, keys: re.Pattern[bytes]) -> bool:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return keys.search(content) is not None


def _lines_without(text: str, keys: re.Pattern[bytes]) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not keys.search(line.encode()))


def _rows_without(text: str, keys: re.Pattern[bytes]) -> str:
    made = io.StringIO()
    rows = csv.reader(io.StringIO(text, newline=""))
    csv.writer(made, lineterminator="\n").writerows(row for row in rows if not keys.search("\n".join(row).encode()))
    return made.getvalue()


def _json_without(text: str, keys: re.Pattern[bytes]) -> str:
    def without(value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {
                name: entry for name, entry in value.items() if not keys.search(name.encode("utf-8", "surrogatepass"))
            }
            return {
                name: without(entry) for name, entry in kept.items() if not isinstance(entry, str) or not named(entry)
            }
        return [entry for entry in value if not named(entry)] if isinstance(value, list) else value

    def named(value: Any) -> bool:
        return keys.search(json.dumps(value).encode()) is not None

    return json.dumps(without(json.loads(text)), ensure_ascii=False)


#: Suffix of a file -> what removes the entries with some keys from it.
_WITHOUT = {".jsonl": _lines_without, ".csv": _rows_without, ".json": _json_without, ".otio": _json_without}
