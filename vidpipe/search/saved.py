"""Saved searches: queries by name, usable in others as `saved:NAME`."""

import difflib
import re
from datetime import UTC, datetime
from typing import NamedTuple

from vidpipe.errors import VidpipeError
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


class SavedSearches:
    """The saved searches of a library."""

    def __init__(self, collections: Collections) -> None:
        self._searches = collections["searches"]

    def save(self, name: str, query: str, fields: Fields) -> None:
        """Store a search, in place of one of the same name.

        Args:
            name: Letters, digits, `-`, `_` and `.`; up to 100.
            query: The query, which must be one in a library with `fields`.
            fields: Today's fields.

        Raises:
            VidpipeError: The name is not allowed.
            QueryError: The query cannot be understood, or contains itself.
        """
        if not _NAME.fullmatch(name):
            raise VidpipeError(
                f'"{single_line(name, 50)}" cannot be the name of a saved search.',
                "Use up to 100 letters, digits, -, _ and . without spaces.",
            )
        parse(query, fields, lambda other: query if other == name else self.lookup(other))
        values = {"query": query, "saved_at": datetime.now(UTC)}
        self._searches.update_one({"_id": name}, {"$set": values}, upsert=True)

    def get(self, name: str) -> str | None:
        """Return the query of a saved search, or None."""
        row = self._searches.find_one({"_id": name})
        return str(row["query"]) if row else None

    def lookup(self, name: str) -> str:
        """Return the query of a saved search; what `parse` needs.

        Raises:
            ValueError: There is none; the text lists similar names.
        """
        query = self.get(name)
        if query is None:
            similar = difflib.get_close_matches(name, [saved.name for saved in self.all()])
            raise ValueError(f"Similar: {', '.join(similar)}." if similar else "`vidpipe search --saved` lists all.")
        return query

    def all(self) -> list[SavedSearch]:
        """Return all saved searches by name."""
        rows = self._searches.find().sort("_id")
        return [SavedSearch(row["_id"], row["query"], row["saved_at"]) for row in rows]

    def delete(self, name: str) -> bool:
        """Remove a saved search; return whether there was one."""
        return self._searches.delete_one({"_id": name}).deleted_count > 0
