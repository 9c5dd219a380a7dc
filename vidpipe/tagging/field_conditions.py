"""One entry of a selection, such as `"description|word": [car, truck]`: a field, its modifiers and a value."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vidpipe.tagging.block import MAX_SHOWN, Block, PartExplanation, listed, safe, spelled_times
from vidpipe.tagging.conditions import Condition, as_found, is_container, make_condition
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import LIST_FIELDS, TEXT_FIELDS, FieldKind, FieldSpec, Vocabulary
from vidpipe.tagging.logic import Negation, Statement, Truth, all_of, any_of
from vidpipe.tagging.patterns import parse_pattern
from vidpipe.text.messages import did_you_mean
from vidpipe.text.stems import stems
from vidpipe.text.words import SearchedText, as_written, normalize, spaced, tag_key

_COMPARING = {"lt": "_lt", "lte": "_lte", "gt": "_gt", "gte": "_gte", "in": "_in"}
_IN_TEXTS = ("word", "phrase", "prefix", "regex", "glob")
_FIGURES = ("count", "share", "confidence")
#: (field, whether one of its names follows) -> its figures; those of texts are the number of words.
_FIGURES_OF = {
    ("objects", True): _FIGURES, ("model_tags", True): ("confidence",), ("category", False): ("confidence",),
    **dict.fromkeys([(name, False) for name in ("objects", "model_tags", "tags", "label")], ("count",)),
}  # fmt: skip
_NO_SHARE = {"count": "", "confidence": "", "share": '; "hold": {"share|gte": ...} asks for a share of the scenes'}
MODIFIERS = (*_COMPARING, "between", "not", *_IN_TEXTS, "exists", "any", "all", *_FIGURES)
_MEMBER = re.compile(r"(\w+)\.(.{1,200})")
_MOST_VALUES = 1000
_LONGEST_VALUE = 500
#: `faces|share` is the field `face_share`.
_FACES = {"count": "face_count", "share": "face_share"}


class FieldBlock(Block):
    """Checks the field of its name; unknown if that is unknown."""

    @property
    def fields(self) -> frozenset[str]:
        """The fact that it checks."""
        return frozenset({self.name})

    def hits(self, facts: RuleFacts) -> Collection[Any]:
        """Return the field if it holds."""
        return [self.name] if self.truth(facts) else []


@dataclass(frozen=True)
class ValueBlock(FieldBlock):
    """Compares one field.

    Attributes:
        name: The field.
        condition: The comparison.
    """

    condition: Condition

    @property
    def name(self) -> str:  # type: ignore[override]
        """The field."""
        return self.condition.spec.name

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether the comparison holds; None: the field is unknown."""
        return self.condition.truth(facts)

    def evidence(self, facts: RuleFacts) -> str:
        """`brightness is 0.12 (asked: below 0.18)`."""
        found = self.condition.found(facts)
        if self.name == "tags":  # of which the others have nothing to do with it
            found = " and ".join(str(key) for key in self.condition.values if key in facts.value(self.condition.spec))
        return f"{self.condition.spec.label} is {safe(found)} (asked: {self.condition.asks})"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return what it asks for and what was found."""
        condition = self.condition
        asks, found = f"{condition.spec.label}: {condition.asks}", condition.found(facts)
        return (PartExplanation(asks=asks, found=found, matched=self.truth(facts)),)

    def normal(self) -> Any:
        """Return key and value."""
        return {self.condition.key: self.condition.value}


@dataclass(frozen=True)
class KnownBlock(FieldBlock):
    """True if a fact is known, or, with `wanted` false, if it is not. It is never unknown itself."""

    name: str
    known: Callable[[RuleFacts], bool]
    wanted: bool

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it is known, as wanted."""
        return self.known(facts) is self.wanted

    def evidence(self, facts: RuleFacts) -> str:
        """`speech is known`."""
        return f"{self.name} is {'known' if self.known(facts) else 'not known'}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return what it asks for and what was found."""
        asks = f"{self.name} is {'known' if self.wanted else 'not known'}"
        found = "known" if self.known(facts) else "not known"
        return (PartExplanation(asks=asks, found=found, matched=self.truth(facts)),)

    def normal(self) -> Any:
        """Return key and value."""
        return {f"{self.name}|exists": self.wanted}


@dataclass(frozen=True)
class TextFieldBlock(FieldBlock):
    """Searches the texts of one field for one value.

    Attributes:
        name: The field.
        modifier: How: word (inflected forms, too), phrase (these very words), prefix (words that begin so), regex or
            glob.
        value: What is searched.
        matches_line: Whether a text matches; only for regex and glob.
    """

    name: str
    modifier: str
    value: str
    matches_line: Callable[[str], bool] | None = None

    @cached_property
    def form(self) -> str:
        """What is searched in `SearchedText.normal`."""
        words = normalize(self.value)
        return words.rstrip() if self.modifier == "prefix" else words

    def stem_form(self, language: str) -> str:
        """Return what is searched in `SearchedText.stemmed` of a text in this language."""
        return spaced(stems(self.value, language))

    def found_in(self, text: SearchedText) -> str:
        """Return what is found in a text: a form, or the text itself for a pattern; "" if nothing."""
        if self.matches_line is not None:
            return text.text if self.matches_line(text.text) else ""
        if self.modifier == "word":
            form = self.stem_form(text.language)
            return form if form and form in text.stemmed else ""
        return self.form if self.form in text.normal else ""

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it is found in one of the texts; None: the texts are unknown."""
        texts = facts.texts(self.name)
        if texts is None:
            return None
        if any(self.found_in(text) for text in texts):
            return True
        return None if self.name in ("said", "text") and not self._all_known(facts) else False

    def _all_known(self, facts: RuleFacts) -> bool:
        parts = ("speech",) if self.name == "said" else ("speech", "screen_text")
        return all(facts.texts(part) is not None for part in parts)

    def hits(self, facts: RuleFacts) -> list[SearchedText]:
        """Return the texts in which it is found."""
        return [text for text in facts.texts(self.name) or () if self.found_in(text)]

    def evidence(self, facts: RuleFacts) -> str:
        """`someone says "rockets" at 0:12 and 0:40`."""
        return ", ".join(f"{text.says} {self._shown(text)}" for text in self.hits(facts)[:MAX_SHOWN])

    def _shown(self, text: SearchedText) -> str:
        form = self.found_in(text)
        if self.matches_line is not None:
            return f'"{safe(form)}"'
        stemmed = self.modifier == "word"
        shown = text.as_found(form) if stemmed else form.strip()
        times = text.times_s(form, stemmed=stemmed)
        return f'"{as_written(shown)}"' + (f" at {spelled_times(times)}" if times else "")

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return what it asks for and what was found."""
        truth = self.truth(facts)
        nothing = "not known" if truth is None else "not found"
        found = listed([f"{text.name}: {self._shown(text)}" for text in self.hits(facts)])
        asks = f'{self.name.replace("_", " ")}: {self.modifier} "{safe(self.value)}"'
        return (PartExplanation(asks=asks, found=found or nothing, matched=truth),)

    def normal(self) -> Any:
        """Return key and value."""
        return {f"{self.name}|{self.modifier}": self.value}


def parse_field_condition(key: str, value: Any, vocabulary: Vocabulary) -> Statement:
    """Return the term of one entry of a selection.

    Args:
        key: `field`, `field.member`, with modifiers after `|`: `objects.car|share|gte`.
        value: One value or a list, of which one is enough, or, with the modifier `all`, all are needed.
        vocabulary: What plugins add to the rule language.

    Raises:
        ValueError: It is invalid; the message is for the user.
    """
    if len(key) > _LONGEST_VALUE:
        raise ValueError(f'"{safe(key)}" has more than {_LONGEST_VALUE} characters')
    name, *modifiers = [part.strip() for part in key.split("|")]
    for modifier in modifiers:
        if modifier not in MODIFIERS:
            near = did_you_mean(modifier, MODIFIERS) or f"; modifiers are {', '.join(MODIFIERS)}"
            raise ValueError(f'"{key}": "{modifier}" is not a modifier{near}')
    if len(set(modifiers)) < len(modifiers):
        raise ValueError(f'"{key}": a modifier is repeated')
    if "not" in modifiers:
        rest = "|".join([name, *(modifier for modifier in modifiers if modifier != "not")])
        return Negation(parse_field_condition(rest, value, vocabulary))
    figure = next((modifier for modifier in modifiers if modifier in _FIGURES), "")
    how = [modifier for modifier in modifiers if modifier not in ("all", "any", figure)]
    if len(how) > 1 or {"all", "any"} <= {*modifiers}:
        raise ValueError(f'"{key}": {" and ".join(how if len(how) > 1 else ("all", "any"))} cannot be combined')
    operation = how[0] if how else ""
    spec = _spec(key, name, figure, operation, value=value, vocabulary=vocabulary)
    if operation == "exists":
        if not isinstance(value, bool):
            raise ValueError(f'"{key}" takes true or false; found {as_found(value)}')
        return KnownBlock(spec if isinstance(spec, str) else spec.name, _is_known(spec), value)
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= _MOST_VALUES:
        raise ValueError(f'"{key}" takes 1 to {_MOST_VALUES} values; found {len(values)}')
    join = all_of if "all" in modifiers else any_of
    if isinstance(spec, str):
        return join([_text_block(key, spec, operation or "word", one) for one in values])
    if "all" in modifiers:
        return all_of([_value_block(key, spec, operation, one) for one in values])
    return _value_block(key, spec, operation, value)


def _value_block(key: str, spec: FieldSpec, operation: str, value: Any) -> Statement:
    if operation in _IN_TEXTS:
        raise ValueError(f'"{key}": {spec.name} is not a text, so {operation} does not apply')
    if operation == "between":
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError(f'"{key}" takes two numbers, the lowest and the highest; found {as_found(value)}')
        return all_of([_value_block(key, spec, *pair) for pair in zip(("gte", "lte"), value, strict=True)])
    suffix = _COMPARING.get(operation, "")
    if suffix and suffix not in spec.operators:
        allowed = ", ".join(name for name, other in _COMPARING.items() if other in spec.operators)
        raise ValueError(f'"{key}": {spec.name} cannot be compared with {operation}; modifiers are {allowed}, not')
    listed = value if isinstance(value, list) or suffix != "_in" else [value]
    return ValueBlock(make_condition(spec, suffix, key, listed))


def _spec(  # noqa: PLR0911 - one return per kind of field
    key: str, name: str, figure: str, operation: str, *, value: Any, vocabulary: Vocabulary
) -> FieldSpec | str:
    """Return the field to compare, or the name of a text field to search."""
    member = _MEMBER.fullmatch(name)
    if name == "faces" and figure in _FACES:
        return vocabulary.names[_FACES[figure]]
    texts = (*TEXT_FIELDS, *vocabulary.texts)
    base = member[1] if member else name
    if figure:
        base = {"labels": "label"}.get(base, base)
        allowed = _FIGURES_OF.get((base, bool(member)), ("count",) if base in texts and not member else ())
        if figure not in allowed:
            near = f"; write {base}.NAME|{figure}" if figure in _FIGURES_OF.get((base, True), ()) else ""
            raise ValueError(f'"{key}": {base} has no {figure}{near or _NO_SHARE[figure]}')
        label = f"{tag_key(member[2])}." if member else ""
        meaning = {"count": "how many", "share": "share of the time, 0 to 1", "confidence": "highest, 0 to 1"}[figure]
        return FieldSpec(f"{base}.{label}{figure}", "number", meaning)
    if member and base == "answers" and operation in _IN_TEXTS:
        return name
    if operation in _IN_TEXTS and name in ("label", "labels", "model_tags", "objects", "category"):
        return {"labels": "label"}.get(name, name)
    if member and base == "answers":
        one = value[0] if isinstance(value, list) and value else value
        compares = isinstance(one, int | float) or operation in _COMPARING.keys() - {"in"} or operation == "between"
        kind: FieldKind = "flag" if isinstance(one, bool) else "number" if compares else "names"
        return FieldSpec(name, kind, "an answer of the model", canonical=str.casefold)
    if name in LIST_FIELDS:
        return vocabulary.list_fields[name]
    if name in texts:
        return name
    if name in vocabulary.names:
        return vocabulary.names[name]
    known = (*vocabulary.names, *LIST_FIELDS, *texts)
    near = did_you_mean(base, known) or "; docs/rules.md lists all fields"
    raise ValueError(f'"{key}": there is no field "{name}"{near}')


def _is_known(spec: FieldSpec | str) -> Callable[[RuleFacts], bool]:
    if isinstance(spec, str):
        return lambda facts: (
            (texts := facts.texts(spec)) is not None and (spec in facts.examined or any(text.text for text in texts))
        )
    return lambda facts: facts.value(spec) is not None


def _text_block(key: str, name: str, modifier: str, value: Any) -> TextFieldBlock:
    if not isinstance(value, str) or not value.strip():
        quotes = "" if is_container(value) or isinstance(value, str) else ": put it between quotation marks"
        raise ValueError(f'"{key}" takes text; found {as_found(value)}{quotes}')
    if len(value) > _LONGEST_VALUE:
        raise ValueError(f'"{key}": a value has at most {_LONGEST_VALUE} characters; found {len(value)}')
    if modifier not in _IN_TEXTS:
        raise ValueError(f'"{key}": {name} is a text; modifiers are {", ".join(_IN_TEXTS)}, exists, all, count, not')
    block = TextFieldBlock(name, modifier, value)
    if modifier in ("regex", "glob"):
        pattern = parse_pattern(
            f"re:{value}" if modifier == "regex" else value, "filename" if name != "source" else "source"
        )
        return replace(block, matches_line=pattern.matches)
    if not block.form.strip():
        raise ValueError(f'"{key}": "{safe(value)}" contains no word')
    return block


def used_fields(blocks: Iterable[Block]) -> frozenset[str]:
    """Return the names of the facts that blocks check."""
    return frozenset().union(*(block.fields for block in blocks))
