"""A draft of a tag rule that says what a search query asks for."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from vidpipe.errors import SettingsError
from vidpipe.search.fields import Fields
from vidpipe.search.grammar import parse
from vidpipe.search.query import EVERYTHING, And, Between, InState, Node, Not, Or, Words, wanted
from vidpipe.tagging.fields import FIELD_NAMES, LIST_FIELDS, TEXT_FIELDS

#: What words without a field are searched in.
_ANYWHERE = ("description", "text", "file_name")
#: Field of the query language -> the same in rules, where the names differ.
_RENAMED = {"file": "file_name", "screen": "screen_text", "scene": "description", "answer": "answers",
            "object": "objects", "tag": "tags", "faces": "face_count"}  # fmt: skip


def draft_rule(query: str, fields: Fields, saved: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return a rule of the full form; its id and tag are made from the words of the query.

    Raises:
        QueryError: The query cannot be understood.
        SettingsError: No rule can ask for that.
    """
    node, selections = parse(query, fields, saved), dict[str, Any]()
    if node == EVERYTHING:
        raise SettingsError("The query is empty.", "Name words or filters: --from-search 'dog duration:>60'.")
    condition = _condition(node, selections)
    words = " ".join(one.text for one in wanted(node) if isinstance(one, Words)) or query
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:60].strip("-")
    slug = slug or f"search-{sha256(query.encode()).hexdigest()[:8]}"
    tag = "".join(one for one in words.title() if one.isprintable())[:100].strip() or slug
    return {"id": slug, "title": f"Search: {query}"[:200], "selections": selections, "condition": condition,
            "tags": [tag]}  # fmt: skip


def _condition(node: Node, selections: dict[str, Any]) -> str:
    if isinstance(node, Not):
        return f"not {_condition(node.part, selections)}"
    if isinstance(node, And | Or):
        joined = (" and " if isinstance(node, And) else " or ").join(_condition(one, selections) for one in node.parts)
        return f"({joined})"
    name = f"s{len(selections) + 1}"
    selections[name] = _selection(node)
    return name


def _selection(node: Any) -> dict[str, Any] | list[dict[str, Any]]:
    field = _RENAMED.get(node.field, node.field) if not isinstance(node, InState) else "state"
    if isinstance(node, Words) and (not field or field in TEXT_FIELDS):
        how = "prefix" if node.prefix else "word"
        groups = [{f"{one}|{how}": node.text} for one in ([field] if field else _ANYWHERE)]
        return groups if len(groups) > 1 else groups[0]
    if (field not in FIELD_NAMES and field not in LIST_FIELDS) or field == "category":
        raise SettingsError(
            f"Rules have no field for {field} of the query.", "docs/rules.md lists the fields of rules."
        )
    if isinstance(node, Words) and node.prefix:
        raise SettingsError(
            f"Rules compare {field} as a whole, not by how it begins.", f"Write {node.field}:{node.text} without *."
        )
    if isinstance(node, Between):
        ends = (("gte" if node.with_low else "gt", node.low), ("lte" if node.with_high else "lt", node.high))
        return {f"{field}|{how}": value for how, value in ends if value is not None}
    return {field: node.text}
