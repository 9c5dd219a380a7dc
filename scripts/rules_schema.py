"""Writes rules/rules.schema.json, by which editors complete and check rule files, from the models of the code."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from vidpipe.tagging.field_conditions import MODIFIERS
from vidpipe.tagging.fields import LIST_FIELDS, OWN_VOCABULARY, TEXT_FIELDS
from vidpipe.tagging.rule import ExclusionSource, FullRuleSource
from vidpipe.tagging.rules import RuleSource, with_texts
from vidpipe.tagging.tag_vocabulary import VocabularySource

TARGET = Path(__file__).parents[1] / "rules" / "rules.schema.json"
NOTE = {"description": "For the reader; has no effect."}
#: Lists for which one value may not stand alone.
ALWAYS_LISTS = {"tests", "exclusive", "then", "rules", "exclusions"}
IN_TEXTS = ("", "|word", "|phrase", "|prefix", "|regex", "|glob", "|exists", "|count|gte")


def conditions() -> dict[str, Any]:
    """The keys of a selection that an editor suggests."""
    found = {f"{name}{how}": meaning for name, meaning in TEXT_FIELDS.items() for how in IN_TEXTS}
    for spec in (*OWN_VOCABULARY.names.values(), *LIST_FIELDS.values()):
        compared = ("", "|lt", "|lte", "|gt", "|gte", "|between") if "_gt" in spec.operators else ("",)
        more = ("|in", "|not", "|all") if spec.kind in ("name", "names") else ()
        unit = f" ({spec.unit})" if spec.unit else ""
        found |= {f"{spec.name}{how}": spec.meaning + unit for how in (*compared, *more, "|exists")}
    return {name: {"description": meaning} for name, meaning in sorted(found.items())}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a rule file."""
    short = with_texts(RuleSource, OWN_VOCABULARY)
    models = (FullRuleSource, short, ExclusionSource, VocabularySource)
    refs, made = models_json_schema([(model, "validation") for model in models])
    full, of_short, exclusion, vocabulary = (refs[model, "validation"] for model in models)
    parts = made["$defs"]
    modifiers = "|".join(MODIFIERS)
    parts["Conditions"] = {
        "type": "object",
        "description": "Fields with modifiers, and values; all must hold. docs/rules.md has the table.",
        "minProperties": 1,
        "properties": conditions(),
        "propertyNames": {"pattern": rf"^[^|]+( *\| *({modifiers}))* *$"},
    }
    for name in ("FullRuleSource", "ExclusionSource"):
        groups = parts[name]["properties"]["selections"]
        groups.pop("propertyNames", None)
        groups.pop("patternProperties", None)
        groups["additionalProperties"] = {"type": "array", "items": {"$ref": "#/$defs/Conditions"}}
    own = {"type": "array", "items": {"$ref": "#/$defs/OwnExclusion"}, "description": "When the rule does not apply."}
    shared = parts["ExclusionSource"]["properties"]
    parts["OwnExclusion"] = {**parts["ExclusionSource"], "required": ["selections"],
                             "properties": {key: value for key, value in shared.items() if key != "rules"}}  # fmt: skip
    for name in ("FullRuleSource", short.__name__):
        parts[name]["properties"]["exclusions"] = own
    has_full_form = {"anyOf": [{"required": ["id"]}, {"required": ["selections"]}]}
    parts["Rule"] = {"if": has_full_form, "then": full, "else": of_short}
    rules = {"type": "array", "items": {"$ref": "#/$defs/Rule"}, "description": "Rules that give tags."}
    body = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "rules": rules,
            "categories": {"description": "As in categories.json."},
            "vocabulary": vocabulary,
            "exclusions": {"type": "array", "items": exclusion, "description": "Where rules of other files end."},
            "note": NOTE,
        },
    }
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "vidpipe rules", "anyOf": [body, rules]}
    return single_values(whole | {"$defs": parts})


def single_values(node: Any, key: str = "") -> Any:
    """Allow one value where a list of texts or objects is expected, as the code does."""
    if isinstance(node, list):
        return [single_values(part) for part in node]
    if not isinstance(node, dict):
        return node
    done = {name: single_values(part, name) for name, part in node.items()}
    if done.get("type") == "array" and key not in ALWAYS_LISTS and "items" in done and "maxItems" not in done:
        about = {name: done.pop(name) for name in ("description", "title", "default") if name in done}
        return {**about, "anyOf": [done["items"], done]}
    return done


if __name__ == "__main__":
    TARGET.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
