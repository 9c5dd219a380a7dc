"""Markdown tables of JSON Schemas, and of texts of the code, for the pages that docs_reference.py makes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import griffe

Schema = Mapping[str, Any]


def object_table(schema: Schema, meanings: Mapping[str, str] | None = None) -> str:
    """Return the description of a JSON Schema, and the table of its properties."""
    first = next((one.value for one in _sections(schema.get("description")) if one.kind.value == "text"), "")
    known = {**(meanings or {}), **attributes(schema.get("description"))}
    required = schema.get("required", ())
    rows = (
        (f"`{name}`", type_name(one), default_value(one, name in required),
         one_line(one.get("description") or known.get(name, "")))
        for name, one in schema.get("properties", {}).items()
    )  # fmt: skip
    return f"{with_links(first)}\n\n{table(('field', 'type', 'default', 'meaning'), rows)}"


def _sections(docstring: str | None) -> list[Any]:
    return griffe.Docstring(docstring or "", lineno=1).parse("google", warnings=False)


def attributes(docstring: str | None) -> dict[str, str]:
    """Return name -> description of the attributes that a docstring in Google style lists."""
    listed = (one.value for one in _sections(docstring) if one.kind.value == "attributes")
    return {attribute.name: attribute.description for attributes in listed for attribute in attributes}


def type_name(schema: Schema) -> str:
    """Return the type of a JSON Schema, with links to those that the page describes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "rule" if name == "Rule" else f"[{name}](#type-{name.lower()})"
    if "anyOf" in schema:
        names = " or ".join(map(type_name, schema["anyOf"])).split(" or ")  # one of them may be a choice itself
        return " or ".join(dict.fromkeys(names))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {type_name(schema.get('items', {}))}"
    if isinstance(values := schema.get("additionalProperties"), dict) and "properties" not in schema:
        return f"object of {type_name(values)}"
    return str(schema.get("type", "anything"))


def default_value(schema: Schema, required: bool) -> str:
    """Return the default of a JSON Schema as JSON; empty if there is none."""
    return "required" if required else f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def codes(names: Sequence[str]) -> str:
    """Return names as a list of code."""
    return ", ".join(f"`{name}`" for name in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; nothing without rows."""
    body = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n{''.join(body)}" if body else ""


def one_line(text: str) -> str:
    """Return a text of the code as one line of Markdown, in which only code and names of documents mean something."""
    parts = " ".join(text.split()).split("`")
    plain = (
        re.sub(r"[|*_\[\]~]", lambda found: f"&#{ord(found[0])};", html.escape(part, quote=False))
        for part in parts[::2]
    )
    return with_links(
        "".join(f"{one}`{code}`" for one, code in zip(plain, [*parts[1::2], ""], strict=True)).removesuffix("``")
    )


def with_links(text: str) -> str:
    """Return Markdown in which names of documents, docs/NAME.md, are links from a page of the reference."""
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", text)
