"""Hugging Face video folder: SPLIT/KEY.mp4 and SPLIT/metadata.parquet with `file_name`, as `load_dataset` reads it.

Parquet states the types of all columns. From metadata.jsonl, `load_dataset` would derive them from each split's values:
it rejects splits that differ because a column is empty in one of them, and texts that look like times become times.
"""

from contextlib import ExitStack
from itertools import islice
from typing import Any, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from vidpipe.datasets.exporters.exporter import ExportJob, facts
from vidpipe.datasets.item import DatasetItem

_ROWS = 1000  # of a row group, which is held in memory
_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_NAMES = {"video": "video_sha256"}
_VERSION = pa.struct({"resource": pa.string(), "version": pa.string()})


def export(job: ExportJob) -> None:
    """Write the videos and one metadata.parquet per split."""
    columns = {"file_name": pa.string(), "label": pa.string(), **{one.name: one.type for one in _type(DatasetItem)}}
    # `load_dataset` makes the column video of file_name
    schema = pa.schema({_NAMES.get(name, name): kind for name, kind in columns.items() if name != "path"})
    stored = job.with_videos(lambda item: f"{item.split or 'train'}/{item.key}.mp4")
    with ExitStack() as files:
        writers: dict[str, pq.ParquetWriter] = {}
        for batch in iter(lambda: list(islice(stored, _ROWS)), []):
            rows: dict[str, list[dict[str, Any]]] = {}
            for item, name in batch:
                rows.setdefault(item.split or "train", []).append(_row(item, name))
            for split, found in rows.items():
                if split not in writers:
                    file = files.enter_context(job.target.open(f"{split}/metadata.parquet"))
                    writers[split] = files.enter_context(pq.ParquetWriter(file, schema))
                writers[split].write_table(pa.Table.from_pylist(found, schema=schema))


def _row(item: DatasetItem, name: str) -> dict[str, Any]:
    answers = [{"id": one.id, "question": one.question, "value": one.in_words} for one in item.answers]
    versions = [{"resource": name, "version": version} for name, version in item.versions.items()]
    plain = {_NAMES.get(name, name): value for name, value in facts(item).items()}
    return {**plain, "file_name": name.partition("/")[2], "answers": answers, "versions": versions}


def _type(annotation: Any) -> pa.DataType:
    """Return the column type of a field's annotation; a value of any type is written as text."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct({name: _type(field.annotation) for name, field in annotation.model_fields.items()})
    arguments = get_args(annotation)
    if get_origin(annotation) in (tuple, dict):
        return pa.list_(_VERSION if get_origin(annotation) is dict else _type(arguments[0]))
    return next((_TYPES[one] for one in (annotation, *arguments) if one in _TYPES), pa.string())
