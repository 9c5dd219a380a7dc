"""Inserting documents whose ids repeat safely."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import InsertOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from vidpipe.library.schema import Document

_DUPLICATE_KEY = 11000


def insert_once(collection: Collection[Document], documents: Sequence[Document]) -> None:
    """Inserts those of `documents` that are not there yet (by `_id`); the others stay as they are."""
    if not documents:
        return
    try:
        collection.bulk_write([InsertOne(document) for document in documents], ordered=False)
    except BulkWriteError as error:
        unconfirmed = error.details.get("writeConcernErrors")
        if unconfirmed or any(fault["code"] != _DUPLICATE_KEY for fault in error.details["writeErrors"]):
            raise
