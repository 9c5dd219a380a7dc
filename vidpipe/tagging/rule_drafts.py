"""Puts drafts into the files of rules: by id or name, entries replace those in force, in place; new ones are added.

Only the text of the entry changes; the rest of the file, its comments included, stays as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.parsing import is_yaml, parse_document
from vidpipe.tagging.rule_files import RuleFile, entry_key, is_full

_SPACE = re.compile(r"[ \t\r\n]*")
_WIDTH = 100


def with_draft(texts: Mapping[str, str], draft: RuleFile, settings: Settings) -> dict[str, str]:
    """Return the texts of the rule files with a draft put into them.

    Args:
        texts: The rule files, as `rule_texts` returns them.
        draft: The draft. What is new in it becomes a file of its own in rules/; new categories are added to theirs.
        settings: They name the files.

    Raises:
        SettingsError: A file or the draft is invalid, or an entry cannot be replaced in place.
    """
    first, categories = settings.rules.custom_tag_rules, settings.rules.categories.as_posix()
    rules = {entry_key(entry) or f"\0{place}": entry for place, entry in draft.entries("rules")}
    found, target = dict(texts), _target(draft, first.parent)
    if target in found.keys() - {categories, first.as_posix()}:
        there = {entry_key(entry) for _, entry in RuleFile.parse(found[target], target).entries("rules")}
        if there <= rules.keys():  # this draft made it
            del found[target]
    while target in found:
        target = str(Path(target).with_stem(f"{Path(target).stem}-draft"))
    new = dict(rules)
    named = {entry_key(entry): entry for _, entry in draft.entries("categories", "name")}
    for shown in found.keys() - {categories}:
        found[shown] = _with_entries(found[shown], shown, "rules", new, add=False)
        found[shown] = _with_entries(found[shown], shown, "categories", named, add=False)
    found[categories] = _with_entries(found[categories], categories, "categories", named, add=True)
    rest = {key: value for key, value in draft.document.items() if key not in ("rules", "categories", "note")}
    rest |= {"rules": list(new.values())} if new else {}
    if rest:
        same = new == rules and "categories" not in draft.document and is_yaml(draft.shown) == is_yaml(target)
        found[target] = draft.text if same else _dump(rest, target) + "\n"
    order = [first.as_posix(), *sorted(found.keys() - {first.as_posix(), categories}), categories]
    return {shown: found[shown] for shown in order}


def _target(draft: RuleFile, folder: Path) -> str:
    """Return the file of rules/ for what is new in a draft."""
    path = Path(draft.shown)
    kept = is_yaml(path.name) or (path.suffix.lower() == ".json" and is_full(draft.document))
    stem = re.sub(r"[^\w.-]+", "-", path.stem).lstrip("._-")[:80] or "draft"
    return (folder / f"{stem}{path.suffix if kept else '.yaml'}").as_posix()


def _with_entries(text: str, shown: str, kind: str, entries: dict[str, Any], *, add: bool) -> str:
    """Return the text of a file with `entries` in it; those put there are removed from them.

    Args:
        text: The text.
        shown: Its name.
        kind: rules or categories.
        entries: Name -> entry.
        add: Whether those not in the file are added to it.
    """
    if not entries:
        return text
    document = parse_document(text, shown)
    if isinstance(document, dict):
        listed = document.get(kind, document if add else [])
    else:  # a bare list: of rules, or of categories in their own file
        listed = document if add or kind == "rules" else []
    if isinstance(listed, dict):  # name -> category
        names = {name.casefold(): name for name in listed}
        chosen = [key for key in entries if add or key in names]
        for key in chosen:
            body = {name: value for name, value in entries[key].items() if name != "name"}
            listed[names.get(key, entries.pop(key)["name"])] = body
        return _dump(document, shown) + "\n" if chosen else text
    if not isinstance(listed, list):
        return text
    places = zip(_spans(text, shown, kind), map(entry_key, listed), strict=False)
    edits = [(span, entries.pop(key)) for span, key in places if key in entries]
    for (start, end, flow), entry in reversed(edits):
        text = text[:start] + _dump(entry, shown, _column(text, start), flow=flow) + text[end:]
    done = {entry_key(entry): entry for _, entry in edits}
    listed[:] = [done.get(entry_key(one), one) for one in listed]
    if add and entries:
        *_, (start, end, _) = _spans(text, shown, kind) or [(0, 0, True)]
        new = [entries.pop(key) for key in list(entries)]
        column = _column(text, start)
        listed += new
        if not end:
            return _dump(document, shown) + "\n"
        text = text[:end] + "".join(f",\n{' ' * column}{_dump(one, shown, column)}" for one in new) + text[end:]
    if parse_document(text, shown) != document:
        raise SettingsError(f"{shown}: an entry cannot be replaced in place.", f"Edit {shown} itself.")
    return text


def _column(text: str, start: int) -> int:
    return start - text.rfind("\n", 0, start) - 1


def _dump(value: Any, shown: str, column: int = 0, *, flow: bool = False) -> str:
    if is_yaml(shown):
        width = 10**9 if flow else _WIDTH
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return text.rstrip("\n").replace("\n", "\n" + " " * column)


def _spans(text: str, shown: str, kind: str) -> list[tuple[int, int, bool]]:
    """Return (start, end, whether brackets surround it) of each entry of the list of `kind` in a valid file."""
    if not is_yaml(shown):
        start = _SPACE.match(text).end()  # type: ignore[union-attr]
        if text[start] == "{":
            start = next((at for key, at, _ in _members(text, start) if key == kind), -1)
        return [(at, end, True) for _, at, end in _members(text, start)] if start >= 0 else []
    node: Any = yaml.compose(text, yaml.SafeLoader)
    if isinstance(node, yaml.MappingNode):
        node = next((value for key, value in node.value if key.value == kind), None)
    entries = node.value if isinstance(node, yaml.SequenceNode) else ()
    spans = ((entry.start_mark.index, _end(entry)) for entry in entries)
    return [(start, start + len(text[start:end].rstrip()), bool(node.flow_style)) for start, end in spans]


def _end(node: Any) -> int:
    """Return where a node ends; YAML's own mark of a block is after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Yield (key, start, end) of each value of the JSON list or object that begins at `at`."""
    decode, in_object = json.JSONDecoder().raw_decode, text[at] == "{"
    at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]
    while text[at] not in "]}":
        key = ""
        if in_object:
            key, at = decode(text, at)
            at = _SPACE.match(text, text.index(":", at) + 1).end()  # type: ignore[union-attr]
        _, end = decode(text, at)
        yield key, at, end
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        at = _SPACE.match(text, at + (text[at] == ",")).end()  # type: ignore[union-attr]
