"""Saved searches: queries by name, usable in others as `saved:NAME`."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from vidpipe.errors import SettingsError
from vidpipe.library import server_clock
from vidpipe.library.schema import Collections
from vidpipe.search.fields import Fields
from vidpipe.search.grammar import parse
from vidpipe.text.messages import single_line

_NAME = re.compile(r"[\w.-]{1,100}")


class SavedSearch(NamedTuple):
    """A query with a name."""

    name: str
    query: str
    saved_at: datetime


class SavedSearches(Mapping[str, str]):
    """The saved searches of a library: name -> query."""

    def __init__(self, collections: Collections) -> None:
        self._searches = collections["searches"]

    def __getitem__(self, name: str) -> str:
        row = self._searches.find_one({"_id": name})
        if row is None:
            raise KeyError(name)
        return str(row["query"])

    def __iter__(self) -> Iterator[str]:
        return (saved.name for saved in self.all())

    def __len__(self) -> int:
        return self._searches.count_documents({})

    def all(self) -> list[SavedSearch]:
        """Return the saved searches by name."""
        return [SavedSearch(row["_id"], row["query"], row["saved_at"]) for row in self._searches.find().sort("_id")]

    def save(self, name: str, query: str, fields: Fields) -> None:
        """Store a search, in place of one of the same name.

        Args:
            name: Letters, digits, `-`, `_` and `.`; up to 100.
            query: The query, which must be one in a library with `fields`.
            fields: Today's fields.

        Raises:
            SettingsError: The name is not allowed, or the query is empty.
            QueryError: The query cannot be understood, or contains itself.
        """
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f'"{single_line(name, 50)}" cannot be the name of a saved search.',
                "Use up to 100 letters, digits, -, _ and . without spaces.",
            )
        if not query.strip():
            raise SettingsError("There is no search to save.", "Write what is searched for before --save.")
        parse(query, fields, {**{one.name: one.query for one in self.all()}, name: query})
        values = {"query": query, "saved_at": server_clock.now()}
        self._searches.update_one({"_id": name}, {"$set": values}, upsert=True)

    def delete(self, name: str) -> bool:
        """Remove a saved search; return whether there was one."""
        return self._searches.delete_one({"_id": name}).deleted_count > 0
