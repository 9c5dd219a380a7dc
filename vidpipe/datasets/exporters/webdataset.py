"""WebDataset: SPLIT/000000.tar, … of KEY.mp4 and KEY.json.

A shard ends near its size where the hash of a key says so. So a new video changes the shard that it comes into, and
those after it only if it moves that end.
"""

import hashlib
import io
import tarfile
from collections import Counter, defaultdict
from typing import IO, NamedTuple

from vidpipe.datasets.exporters.exporter import ExportJob, facts
from vidpipe.datasets.item import DatasetItem
from vidpipe.errors import VidpipeError
from vidpipe.library.queries.json_encoding import to_json

_SHARD_BYTES = 1_000_000_000
#: Of the size: where a shard may end, where it must, and in how many pieces of it one end is expected.
_MAY_END, _MUST_END, _ENDS = 0.75, 1.25, 8


class _Sample(NamedTuple):
    item: DatasetItem
    made_of: str
    facts: bytes


def export(job: ExportJob) -> None:
    """Write the shards. Option `shard_size`: their size in bytes, about."""
    limit = job.options.get("shard_size") or _SHARD_BYTES
    samples: dict[str, list[_Sample]] = defaultdict(list)
    sizes, shards = Counter[str](), Counter[str]()
    for item, _ in job.media.batches(job.items, mp4=True):
        split = item.split or "train"
        try:
            size_bytes = job.media.size_bytes(item, mp4=True)
        except VidpipeError as error:
            job.failed(item, error)
            continue
        samples[split].append(_Sample(item, job.media.made_of(item, mp4=True), to_json(facts(item)) + b"\n"))
        sizes[split] += size_bytes
        chance = int(hashlib.sha256(item.key.encode()).hexdigest()[:8], 16) / 2**32
        may_end = chance < _ENDS * size_bytes / limit and sizes[split] >= _MAY_END * limit
        if may_end or sizes[split] >= _MUST_END * limit:
            shards[split] += _write(job, f"{split}/{shards[split]:06d}.tar", samples.pop(split))
            sizes[split] = 0
    for split, rest in samples.items():
        _write(job, f"{split}/{shards[split]:06d}.tar", rest)


def _write(job: ExportJob, name: str, samples: list[_Sample]) -> bool:
    """Write a shard, unless the target has it. Returns whether any of its videos can be read."""
    if not job.target.has(name, _made_of(samples)):
        samples = [sample for sample in samples if _readable(job, sample.item)]
        if samples and not job.target.has(name, made_of := _made_of(samples)):
            with job.target.open(name, made_of) as file, open_shard(file) as tar:
                for item, _, text in samples:
                    with job.media.file(item, mp4=True) as path, path.open("rb") as video:
                        _add(tar, f"{item.key}.json", len(text), io.BytesIO(text))
                        _add(tar, f"{item.key}.mp4", path.stat().st_size, video)
    for sample in samples:
        job.done(sample.item)
    return bool(samples)


def open_shard(file: IO[bytes]) -> tarfile.TarFile:
    """Return a tar file to write to. Its headers are those of ustar, but for videos beyond 8 GiB, which need pax."""
    return tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)


def _made_of(samples: list[_Sample]) -> str:
    return hashlib.sha256(to_json([[item.key, made_of, text.decode()] for item, made_of, text in samples])).hexdigest()


def _readable(job: ExportJob, item: DatasetItem) -> bool:
    try:
        with job.media.file(item, mp4=True):
            return True
    except VidpipeError as error:
        job.failed(item, error)
        return False


def _add(tar: tarfile.TarFile, name: str, size_bytes: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)  # its time and owner are 0
    member.size = size_bytes
    tar.addfile(member, content)
