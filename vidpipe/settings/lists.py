"""Section [Lists] of config.ini: what the columns of CSV lists are called."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from vidpipe.settings.section import Listed, Section


def column_name(text: str) -> str:
    """The one spelling of a column's name: "Video URL" and "video_url" are the same column."""
    return re.sub(r"[\s_-]+", "_", text.strip().lstrip("#").strip()).casefold()


class Lists(Section):
    """The columns of CSV lists, for `vidpipe add` and the watched lists. Names are comma-separated; upper and lower
    case, blanks, hyphens and underscores are the same."""

    url_columns: Listed = Field(
        ("url", "urls", "video_url", "link", "address"),
        min_length=1,
        description="the column with the URL or path; the first of these names that a list has counts",
    )
    title_columns: Listed = Field(
        ("title",), description="the column with the title; the first of these names that a list has counts"
    )
    label_columns: Listed = Field(
        ("label", "labels", "tags", "class", "action"),
        description="columns with labels; those of all columns are taken together",
    )
    priority_columns: Listed = Field(
        ("priority",), description="the column with the priority; the first of these names that a list has counts"
    )

    @field_validator("*")
    @classmethod
    def _one_spelling(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(column_name, value)))

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Lists:
        named = [*self.url_columns, *self.title_columns, *self.label_columns, *self.priority_columns]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the column {twice} has two meanings")
        return self
