"""A list in MongoDB: `mongodb://host/database?collection=clips&query={"ok":true}`.

Only what the user of this machine types is read, never a URL inside a list or from the API: the server may be any.
"""

from urllib.parse import parse_qsl, unquote

from bson import json_util
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.library.connection import host_of
from vidpipe.library.schema import Document
from vidpipe.settings import Settings
from vidpipe.settings.operation import Lists
from vidpipe.sources.lists import Lines
from vidpipe.sources.tables import MOST_ROWS, record_lines

_HINT = "Check server, login and address: 'mongodb://host/database?collection=clips&query={\"ok\":true}'."


def read_collection(url: str, settings: Settings, limit: int | None) -> tuple[str, Lines]:
    """Return the name of the collection and its documents as the lines of a list, in the order of their _id.

    Args:
        url: The address, with the collection and perhaps a query (JSON, as `find` takes it) besides pymongo's options.
        settings: Section [MongoDB] for timeouts, [Lists] for the names of the fields.
        limit: Most documents.

    Raises:
        UnavailableError: It cannot be read. No message quotes a password.
        VidpipeError: It has no such documents.
    """
    address, _, options = url.partition("?")
    own = [piece for piece in options.split("&") if piece.startswith(("collection=", "query="))]
    uri = f"{address}?{'&'.join(piece for piece in options.split('&') if piece not in own)}"
    given = {"collection": "", "query": "{}", **dict(parse_qsl("&".join(own)))}
    database = unquote(address.partition("://")[2].rpartition("@")[2].partition("/")[2])
    name = f"{database}.{given['collection']} on {host_of(uri)}".replace("/", "_")
    wait_ms = int(1000 * settings.mongodb.timeout_s)
    try:
        parse_uri(uri, warn=False)  # MongoClient would print options that it does not know, parts of a password perhaps
        pipeline = _pipeline(json_util.loads(given["query"]), settings.lists, limit or MOST_ROWS)
        with MongoClient[Document](uri, serverSelectionTimeoutMS=wait_ms, socketTimeoutMS=6 * wait_ms) as client:
            found = client[database][given["collection"]].aggregate(pipeline)
            lines = record_lines(enumerate(found, start=1), name, settings.lists)
    except (PyMongoError, ValueError, TypeError, OSError) as error:  # whose text may quote parts of a password
        said = (error.details or {}).get("errmsg") if isinstance(error, OperationFailure) else type(error).__name__
        raise UnavailableError(f"{name} cannot be read: {visible(str(said))[:300]}.", _HINT) from None
    if not lines.keys:
        raise VidpipeError(f"{name} has no document that matches.", _HINT)
    return name, lines


def _pipeline(query: Document, columns: Lists, limit: int) -> list[Document]:
    """Return the stages that find documents and keep only the fields whose names are columns of lists."""
    name: Document = {"$toLower": "$$this.k"}
    for other in (" ", "-"):
        name = {"$replaceAll": {"input": name, "find": other, "replacement": "_"}}
    names = [one for listed in columns.model_dump().values() for one in listed]
    kept = {"$filter": {"input": {"$objectToArray": "$$ROOT"}, "cond": {"$in": [name, names]}}}
    return [{"$match": query}, {"$sort": {"_id": 1}}, {"$limit": limit}, {"$replaceWith": {"$arrayToObject": kept}}]
