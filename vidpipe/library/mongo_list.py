"""A list in MongoDB: `mongodb://host/database?collection=clips&query={"ok":true}`.

Only what the user of this machine types is read, never a URL inside a list or from the API: the server may be any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, InvalidName, OperationFailure, PyMongoError

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.library.connection import host_of
from vidpipe.settings import Settings
from vidpipe.settings.operation import Lists
from vidpipe.sources.list_columns import column_meanings
from vidpipe.sources.lists import Lines
from vidpipe.sources.record_lists import Record, record_lines

_OWN = ("collection", "query")
_HINT = "Write it as 'mongodb://user:password@host/database?collection=clips&query={\"ok\":true}', with & in it as %26."
#: Documents whose field names are looked at, to read no others.
_SAMPLED = 1000
_BATCH = 1000
Document = dict[str, Any]


def read_collection(url: str, settings: Settings, limit: int | None) -> tuple[str, Lines]:
    """Return the name of the collection and its documents as the lines of a list, in the order of their _id.

    Args:
        url: The address, with the collection and perhaps a query (JSON, as `find` takes it) besides pymongo's options.
        settings: Section [MongoDB] for timeouts, [Lists] for the names of the fields.
        limit: Most documents.

    Raises:
        VidpipeError: The URL cannot be used, or nothing is found.
        UnavailableError: The server does not answer or refuses to. No message quotes a password.
    """
    address, _, options = url.partition("?")
    pieces = [piece for piece in options.split("&") if piece]
    own = dict(parse_qsl("&".join(piece for piece in pieces if piece.partition("=")[0] in _OWN)))
    uri = f"{address}?{'&'.join(piece for piece in pieces if piece.partition('=')[0] not in _OWN)}"
    database, collection = unquote(address.partition("://")[2].partition("/")[2]), own.get("collection", "")
    try:
        query = json_util.loads(own.get("query", "{}"))
        if not database or not collection or not isinstance(query, dict):
            raise ValueError("database, collection or query")
        timeout_ms = int(1000 * settings.mongodb.timeout_s)
        client: MongoClient[Document] = MongoClient(
            uri, appname="vidpipe", serverSelectionTimeoutMS=timeout_ms, connectTimeoutMS=timeout_ms,
            socketTimeoutMS=int(1000 * settings.download.read_timeout),
        )  # fmt: skip
    except (ConfigurationError, ValueError, TypeError, OSError):  # whose text may quote parts of a password
        raise VidpipeError("this is not the address of a collection in MongoDB.", _HINT) from None
    name = f"{database}.{collection}".replace("/", "_")
    with client:
        try:
            codec: CodecOptions[Document] = CodecOptions(
                unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
            )
            found = client[database].get_collection(collection, codec)
            lines = record_lines(_records(found, query, settings.lists, limit or 0), name, settings.lists)
        except InvalidName:
            raise VidpipeError("this is not the address of a collection in MongoDB.", _HINT) from None
        except OperationFailure as error:
            said = visible(str((error.details or {}).get("errmsg", "")))[:300]
            raise UnavailableError(
                f"{host_of(uri)} refuses to read {name}: {said}.", "Check user, password, rights and query."
            ) from None
        except PyMongoError as error:
            raise UnavailableError(
                f"{host_of(uri)} cannot be read ({type(error).__name__}).",
                "Check the host, and that MongoDB runs there.",
            ) from None
    if not lines.keys:
        raise VidpipeError(f"{name} on {host_of(uri)} has no document that matches.", "Check the names and the query.")
    return name, lines


def _records(found: Collection[Document], query: Mapping[str, Any], columns: Lists, limit: int) -> Iterator[Record]:
    fields = {"$project": {"name": {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.k"}}}}
    pipeline = [{"$match": query}, {"$limit": _SAMPLED}, fields, {"$unwind": "$name"}, {"$group": {"_id": "$name"}}]
    names = sorted(row["_id"] for row in found.aggregate(pipeline))
    names = [name for name in names if "." not in name and not name.startswith("$")]
    meanings = dict(zip(names, column_meanings(names, columns), strict=True))
    read = [name for name, meaning in meanings.items() if meaning != "ignored"]
    unread = dict.fromkeys(name for name in names if name not in read and name != "_id")
    cursor = found.find(query, {"_id": 0, **dict.fromkeys(read, 1)}, batch_size=_BATCH, limit=limit)
    for number, row in enumerate(cursor.sort("_id", 1), start=1):
        yield number, {**unread, **row}
