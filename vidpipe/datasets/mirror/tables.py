r"""The tables of a mirror, and the rows that they get.

Texts are stored as they are, but for what databases refuse: NUL characters and halves of surrogate pairs are written
out (`\x00`), as in terminals. Numbers that are not finite are NULL. Times are in UTC.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from vidpipe.errors import readable
from vidpipe.library.queries.export import SCENE_COLUMNS, VIDEO_COLUMNS, scene_rows, video_row
from vidpipe.library.queries.json_encoding import jsonable
from vidpipe.library.schema import Document
from vidpipe.sources.urls import readable_url

#: Of the tables. A mirror of another version is refused.
VERSION = "1"
#: Table -> its rows.
Rows = dict[str, list[Document]]

_ID = sa.String(64)
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
_TYPES: dict[str, Any] = {
    "text": sa.Text().with_variant(mysql.LONGTEXT(), "mysql"), "number": sa.Double(), "whole": sa.BigInteger(),
    "time": sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql"), "texts": _JSON, "json": _JSON,
}  # fmt: skip
#: Of MySQL, where names and tags are otherwise equal if they differ in case or accents alone, or cannot hold emoji.
_OPTIONS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
#: The state depends on the time, and the others have tables or columns of their own.
_ELSEWHERE = {"video", "state", "urls", "labels", "tags", "answers", "scenes"}
_OF_VIDEOS = {"video", "name", "path", "title", "labels", "tags", "category", "answers", "index"}
_KINDS: Mapping[str, Mapping[str, str]] = {
    "videos": {name: kind for name, kind in VIDEO_COLUMNS.items() if name not in _ELSEWHERE} | {"scene_count": "whole"},
    "scenes": {name: kind for name, kind in SCENE_COLUMNS.items() if name not in _OF_VIDEOS},
    "labels": {"label": "text"},
    "tags": {"tag": "text", "rule": "text", "given_by": "text", "evidence": "text", "confidence": "number"},
    "scene_tags": {"tag": "text", "rule": "text", "evidence": "text", "start_s": "number", "end_s": "number"},
    "answers": {"scene": "whole", "question": "text", "value": "json"},
    "sources": {
        "url": "text", "kind": "text", "state": "text", "title": "text", "site": "text", "licence": "text",
        "priority": "whole", "file_name": "text", "content_type": "text", "size_bytes": "whole", "attempts": "whole",
        "last_error": "text", "first_seen": "time", "last_fetched": "time", "failed_at": "time", "gone_since": "time",
        "labels": "json", "segments": "json", "earlier_videos": "json",
    },
}  # fmt: skip
_INDEXED = {"videos": "category", "labels": "label", "tags": "tag", "scene_tags": "tag", "answers": "question"}

METADATA = sa.MetaData()
#: Facts about the mirror. Not among the others, which are dropped to write them again.
FACTS = sa.Table("vidpipe_mirror", sa.MetaData(), sa.Column("name", _ID, primary_key=True), sa.Column("value", _ID))


def _table(name: str, *keys: sa.Column[Any]) -> sa.Table:
    columns = [sa.Column(column, _TYPES[kind]) for column, kind in _KINDS[name].items()]
    table: sa.Table = sa.Table(name, METADATA, *keys, *columns, **_OPTIONS)
    if name in _INDEXED:  # PostgreSQL's other indexes refuse long texts, and MySQL indexes only the start of any
        indexed = _INDEXED[name]
        sa.Index(f"{name}_{indexed}", table.c[indexed], postgresql_using="hash", mysql_length=100)
    return table


def _video(**options: Any) -> sa.Column[Any]:
    return sa.Column("video", _ID, sa.ForeignKey("videos.video", ondelete="CASCADE"), **options)


def _part(name: str, position: str = "position") -> sa.Table:
    return _table(name, _video(primary_key=True), sa.Column(position, sa.Integer, primary_key=True))


#: `version`: what tells whether a row is that of today.
VIDEOS = _table("videos", sa.Column("video", _ID, primary_key=True), sa.Column("version", _ID))
PARTS = [_part("scenes", "scene"), *map(_part, ("labels", "tags", "scene_tags", "answers"))]
SOURCES = _table(
    "sources", sa.Column("source", _ID, primary_key=True), _video(index=True), sa.Column("version", _ID)
)  # fmt: skip


def rows_of(view: Document, version: str) -> Rows:
    """Return the rows of a video in `VIDEOS` and `PARTS`.

    Args:
        view: See `vidpipe.library.queries.show.view`.
        version: Of its row in `VIDEOS`.
    """
    video, whole = view["video"]["sha256"], video_row(view)
    answers = [(None, (view["description"] or {}).get("questions"))]
    answers += [(scene["index"], scene.get("answers")) for scene in view["scenes"]]
    parts: dict[str, list[Document]] = {
        "labels": [{"label": label} for label in view["video"]["labels"]],
        "tags": view["tags"],
        "scene_tags": [tag | {"start_s": at[0], "end_s": at[1]} for tag in view["scene_tags"] for at in tag["spans"]],
        "answers": [
            {"scene": scene, "question": answer["id"], "value": answer["value"]}
            for scene, given in answers for answer in given or () if answer.get("value") is not None
        ],
    }  # fmt: skip
    return {
        "videos": [{"video": video, "version": version, **_cells("videos", whole | {"scene_count": whole["scenes"]})}],
        "scenes": [{"video": video, "scene": row["index"], **_cells("scenes", row)} for row in scene_rows(view)],
        **{
            name: [{"video": video, "position": place, **_cells(name, row)} for place, row in enumerate(rows)]
            for name, rows in parts.items()
        },
    }  # fmt: skip


def source_row(stored: Mapping[str, Any], video: str | None) -> Document:
    """Return the row of a source in `SOURCES`.

    Args:
        stored: The source's document.
        video: Its video, if the mirror has it.
    """
    data = stored.get("data") or {}
    facts = {**stored, "url": readable_url(stored.get("url") or ""), "site": data.get("site")}
    row = {"video": video, **_cells("sources", facts | {"licence": stored.get("licence") or data.get("licence")})}
    version = hashlib.sha256(json.dumps(row, default=str).encode()).hexdigest()
    return {"source": stored["_id"], "version": version, **row}


def _cells(table: str, values: Mapping[str, Any]) -> Document:
    return {name: _storable(values.get(name), kind) for name, kind in _KINDS[table].items()}


def _storable(value: Any, kind: str) -> Any:
    if isinstance(value, dict):
        return {_storable(name, kind): _storable(entry, kind) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(entry, kind) for entry in value]
    if isinstance(value, str):
        return readable(value).replace("\0", "\\x00")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return jsonable(value) if kind == "json" else value
