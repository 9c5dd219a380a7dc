"""Checks rule files before they are used: errors of all files at once, rules that cannot work, embedded tests."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, pairwise, product
from typing import Any, Literal, NamedTuple

from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.tagging.block import Block
from vidpipe.tagging.blocks import ConditionsBlock
from vidpipe.tagging.conditions import Condition
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.field_conditions import KnownBlock, ValueBlock
from vidpipe.tagging.fields import STANDARD_RANGE, Vocabulary
from vidpipe.tagging.logic import AtLeast, Negation, RuleSelection, Statement, all_of, any_of
from vidpipe.tagging.made_up_facts import made_up_facts
from vidpipe.tagging.rule import Rule, RuleTest
from vidpipe.tagging.rule_files import RuleFile, entry_key
from vidpipe.tagging.rules import RuleSet, parse_rule_set, parse_rules_of
from vidpipe.text.messages import did_you_mean
from vidpipe.text.words import tag_key

Level = Literal["error", "warning", "note"]
#: What must hold of leaves -> why it cannot; "" if it can.
Clash = Callable[[Sequence[tuple[Block, bool]]], str]
#: Returns the facts of a video of the library. Raises VidpipeError or ValueError.
Library = Callable[[str], RuleFacts]

_MOST_PAIRS = 5000
_MOST_ALTERNATIVES = 20
_RANGE = re.compile(r"(-?\d+)(?: \(\w+\))? to ([\d.]+)\b")
#: Keys of a rule that say what follows, not when.
_OUTCOME = {"id", "name", "tags", "remove", "priority", "facet"}


class RuleFinding(NamedTuple):
    """What is wrong with a rule or file.

    Attributes:
        level: error: the rules cannot be used; warning: they hardly do what was meant; note: worth knowing.
        file: The file.
        rule: Id or name of the rule; "": it is about the file.
        sentence: What was found.
        hint: What to do about it.
    """

    level: Level
    file: str
    rule: str
    sentence: str
    hint: str = ""


def check_rules(
    in_force: Mapping[str, str],
    drafts: Mapping[str, str],
    vocabulary: Vocabulary,
    disabled: Mapping[str, str],
    library: Library | None = None,
) -> list[RuleFinding]:
    """Return what is wrong with rule files, errors first.

    Args:
        in_force: What messages call each file of rules/ -> its text.
        drafts: Likewise for drafts, whose rules replace those of the same name; if there are any, only they are checked
            themselves.
        vocabulary: What plugins add to the rule language.
        disabled: Field -> the analysis, not enabled, that finds it.
        library: For tests with a video; None: they are skipped.
    """
    found: list[RuleFinding] = []
    files: list[RuleFile] = []
    places: dict[str, str] = {}

    def tried(build: Callable[[], Any], file: str, rule: str = "") -> Any:
        try:
            return build()
        except SettingsError as error:
            found.append(RuleFinding("error", file, rule, error.message, error.hint))

    for shown, text in {**in_force, **drafts}.items():
        if (file := tried(partial(RuleFile.parse, text, shown), shown)) is None:
            continue
        rest = replace(file, document={key: value for key, value in file.document.items() if key != "rules"})
        tried(partial(parse_rule_set, [rest], vocabulary), shown)
        for place, entry in tried(partial(list, file.entries("rules")), shown) or ():
            for rule in tried(partial(parse_rules_of, [(place, entry)], vocabulary), shown, _name(entry)) or ():
                places[rule.name] = shown
        files.append(file)
    rules = None
    if not found:
        new = {entry_key(entry) for file in files if file.shown in drafts for _, entry in file.entries("rules")} - {""}
        files = [file if file.shown in drafts else _without(file, new) for file in files]
        rules = tried(partial(parse_rule_set, files, vocabulary), next(iter(drafts or in_force), ""))
    if rules is not None:
        more = (*_doubts(rules, disabled), *_failed_tests(rules, vocabulary, library))
        found += (RuleFinding(level, places.get(rule.name, ""), rule.name, *said) for level, rule, *said in more)
    found = [one for one in found if one.file in drafts or not drafts or one.level == "error"]
    return sorted(found, key=lambda one: ("error", "warning", "note").index(one.level))


def _name(entry: Any) -> str:
    return str(entry.get("id") or entry.get("name") or "") if isinstance(entry, dict) else ""


def _without(file: RuleFile, keys: set[str]) -> RuleFile:
    kept = [entry for _, entry in file.entries("rules") if entry_key(entry) not in keys]
    return replace(file, document=file.document | {"rules": kept})


Doubt = tuple[Level, Rule, str, str]


def _doubts(rules: RuleSet, disabled: Mapping[str, str]) -> Iterator[Doubt]:
    """Yield (level, rule, sentence, hint) of what can be seen without a video."""
    relations, tags = rules.vocabulary, {key: tag for rule in rules.rules for key, tag in rule.keyed_tags}
    given = {*tags, *(tag_key(parent) for key in tags for parent in relations.broader.get(key, ()))}
    same: dict[str, Rule] = {}
    for rule in rules.rules:
        if why := _never(rule.term, True, [], _clash):
            yield "warning", rule, f"Its condition can never be true: {why}.", "Correct a value, or write `or`."
        elif why := _never(rule.term, True, [], partial(_unknown, disabled=disabled)):
            yield "note", rule, f"It never applies here: {why} is not enabled.", "[Analyses] Enabled names what runs."
        for key in sorted(rule.checked_tags - given):
            near = did_you_mean(key, given) or "."
            yield "warning", rule, f'It checks the tag "{key}", which no rule gives{near}', "People may still give it."
        body = {key: value for key, value in rule.normal().items() if key not in _OUTCOME}
        when = json.dumps(body | {"removes": bool(rule.removes)}, sort_keys=True)
        if (other := same.setdefault(when, rule)) is not rule:
            yield "warning", rule, f'It has the conditions of "{other.name}".', "Join them into one rule."
    by_tag: dict[tuple[str, str], list[Rule]] = defaultdict(list)
    for rule in rules.rules:
        for place in {("gives", tag_key(tag)) for tag in rule.tags} | {("", tag_key(tag)) for tag in rule.removes}:
            by_tag[place].append(rule)
    pairs = [(("gives", key), ("", key)) for key in tags]
    pairs += [(("gives", key), ("gives", beside)) for key in tags for beside in relations.exclusive.get(key, ())
              if key < beside]  # fmt: skip
    rivals = ((*both, *pair) for pair in pairs for both in product(by_tag[pair[0]], by_tag[pair[1]]))
    for one, other, (_, key), (gives, beside) in islice(rivals, _MOST_PAIRS):
        verb = f'which excludes "{tags[beside]}" of "{other.name}"' if gives else f'which "{other.name}" removes'
        if one.priority == other.priority and not _never(all_of([one.term, other.term]), True, [], _clash):
            yield (
                "warning",
                one,
                f'It gives "{tags[key]}", {verb}; both can apply, with the same priority.',
                'Give one a higher "priority".',
            )


def _failed_tests(rules: RuleSet, vocabulary: Vocabulary, library: Library | None) -> Iterator[Doubt]:
    for rule in rules.rules:
        for number, test in enumerate(rule.source.tests if rule.source else (), 1):
            if test.facts is None and library is None:
                yield "note", rule, f"Its test {number} was skipped: the library cannot be reached.", ""
            elif wrong := _wrong(rules, rule, test, vocabulary, library):
                yield "error", rule, f"Its test {number} fails: {wrong}.", "Correct the rule, or what the test expects."


def _wrong(rules: RuleSet, rule: Rule, test: RuleTest, vocabulary: Vocabulary, library: Library | None) -> str:
    """Return how the outcome differs from what a test expects; "" if it does not."""
    try:
        if test.facts is not None:
            facts = made_up_facts(test.facts, vocabulary)
            rules = RuleSet((rule,), rules.vocabulary)
        elif library is not None:
            facts = library(test.video or "")
        facts.verdicts = {}
        tagging = evaluate(rules, facts)
    except (ValueError, VidpipeError) as error:
        return str(error).rstrip(".")
    have = ({tag_key(match.tag) for match in tagging.tags} | {*map(tag_key, facts.tags)}) - tagging.removed
    wanted = {tag_key(rules.vocabulary.canonical(tag)) for tag in test.expect}
    missing, surplus = sorted(wanted - have), sorted((have - wanted) & rule.decides)
    said = [f"{kind} {', '.join(keys)}" for kind, keys in (("missing:", missing), ("not expected:", surplus)) if keys]
    return "; ".join(said)


def _never(term: Statement, wanted: bool, given: Sequence[tuple[Block, bool]], clash: Clash) -> str:
    """Return why a term cannot be `wanted` (true or false) while `given` holds; "" if it can be, or nothing is sure."""
    must, queue = [*given], [(term, wanted)]
    choices: list[tuple[int, list[tuple[Statement, bool]]]] = []
    while queue and len(must) < _MOST_PAIRS:
        one, holds = queue.pop()
        if isinstance(one, RuleSelection | Negation):
            queue.append((one.term, holds is isinstance(one, RuleSelection)))
        elif isinstance(one, ConditionsBlock):
            groups = [all_of([*map(ValueBlock, group)]) for group in one.groups]
            queue.append((any_of(groups), holds))
        elif isinstance(one, AtLeast):
            least = one.least if holds else len(one.terms) - one.least + 1
            if least == len(one.terms):
                queue += [(part, holds) for part in one.terms]
            elif len(one.terms) <= _MOST_ALTERNATIVES:
                choices.append((least, [(part, holds) for part in one.terms]))
        elif isinstance(one, Block):
            must.append((one, holds))
    if why := clash(must):
        return why
    for least, parts in choices:
        reasons = [why for part in parts if (why := _never(*part, must, clash))]
        if len(parts) - len(reasons) < least:
            return reasons[0]
    return ""


def _unknown(must: Sequence[tuple[Block, bool]], disabled: Mapping[str, str]) -> str:
    fields = (name.partition(".")[0] for leaf, _ in must if not isinstance(leaf, KnownBlock)
              for name in leaf.fields or [leaf.name.removesuffix("_keywords")])  # fmt: skip
    return next((f"{name} is found by the analysis {disabled[name]}, which" for name in fields if name in disabled), "")


def _clash(must: Sequence[tuple[Block, bool]]) -> str:
    """Return why the leaves cannot all be true or false as they must."""
    seen: dict[str, bool] = {}
    by_field: dict[str, list[tuple[Condition, bool]]] = defaultdict(list)
    missing: set[str] = set()
    for leaf, holds in must:
        what = json.dumps(leaf.normal(), ensure_ascii=False, default=str)
        if seen.setdefault(f"{leaf.name} {what}", holds) is not holds:
            return f"{what} must be true and false"
        if isinstance(leaf, KnownBlock) and leaf.wanted is not holds:
            missing.add(leaf.name)
        if isinstance(leaf, ValueBlock):
            by_field[leaf.name].append((leaf.condition, holds))
    for name in missing.intersection(leaf.name for leaf, _ in must if not isinstance(leaf, KnownBlock)):
        return f"{name} must be unknown and have a value"
    for name, pairs in by_field.items():
        kinds = {one.spec.kind: [pair for pair in pairs if pair[0].spec.kind == one.spec.kind] for one, _ in pairs}
        values = chain.from_iterable(map(_candidates, kinds.values()))
        if not any(all(one.test(value) is holds for one, holds in pairs) for value in values):
            return f"{name} ({pairs[0][0].spec.meaning}): " + " and ".join(
                ("" if holds else "not ") + one.asks for one, holds in pairs[:5]
            )
    return ""


def _candidates(pairs: Sequence[tuple[Condition, bool]]) -> Sequence[Any]:
    """Return values of a field, one of which satisfies the comparisons, all of one kind, if any value does."""
    spec = pairs[0][0].spec
    values: set[Any] = {value for one, _ in pairs for value in one.values}
    if spec.kind == "number":
        limits = _RANGE.search(spec.meaning)
        low, high = map(float, limits.groups()) if limits else (min(values) - 1, max(values) + 1)
        numbers = sorted({low, high, *(value for value in values if low <= value <= high)})
        return [*numbers, *((left + right) / 2 for left, right in pairwise(numbers))]
    if spec.kind == "names":
        return [tuple(values.difference(*(one.values for one, holds in pairs if (one.operator == "_not") is holds)))]
    return spec.allowed or (True, False) if spec.kind == "flag" else spec.allowed or (*values, STANDARD_RANGE, "other")
