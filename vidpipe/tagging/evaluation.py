"""Applies rules to the facts of a video: which tags it and its scenes get, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from vidpipe.tagging.blocks import TagBlock
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.logic import Truth
from vidpipe.text.messages import clock_time
from vidpipe.text.words import tag_key

if TYPE_CHECKING:
    from vidpipe.tagging.rule import Rule
    from vidpipe.tagging.rules import RuleSet
    from vidpipe.tagging.tag_vocabulary import TagVocabulary

#: What `TagMatch.rule` says of a tag that a person gave.
VERDICT = "verdict"
_NO_RULE = 1 << 30


@dataclass(frozen=True)
class TagMatch:
    """A tag that a rule or a person gave.

    Attributes:
        tag: The tag.
        rule: Name of the rule.
        block: The parts of the rule that matched: "a + b".
        evidence: What they found.
        facet: See `Rule`.
        model_tags: The model's own tags that the rule matched, normalized.
        given_by: Who gave it.
    """

    tag: str
    rule: str
    block: str
    evidence: str
    facet: bool = False
    model_tags: tuple[str, ...] = ()
    given_by: Literal["rule", "person"] = "rule"


@dataclass(frozen=True)
class SceneMatch:
    """A tag of some scenes.

    Attributes:
        tag: The tag.
        rule: Name of the rule.
        evidence: What was found in the first of them.
        spans: (start, end) in seconds, in order; scenes that follow one another are one span.
    """

    tag: str
    rule: str
    evidence: str
    spans: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tagging:
    """The outcome of a rule set for one video.

    Attributes:
        tags: The tags of the video, in the order of the rules.
        scenes: The tags of its scenes.
        removed: Keys of the tags that a rule or a person removed; they include tags that only the model gave.
    """

    tags: tuple[TagMatch, ...]
    scenes: tuple[SceneMatch, ...] = ()
    removed: frozenset[str] = frozenset()


class _Claim(NamedTuple):
    """A rule gives or removes a tag; of what removes it, `match` says nothing but the tag."""

    priority: int
    removes: bool
    earlier: tuple[int, int]
    match: TagMatch


class Claims:
    """What rules and people say of the tags of one video or scene, and who prevails.

    A person prevails over rules, a higher priority over a lower one, a removal over a gift, an earlier rule over a
    later one.
    """

    def __init__(self, vocabulary: TagVocabulary, facts: RuleFacts) -> None:
        self._vocabulary = vocabulary
        self._verdicts = {
            tag_key(tag): said._replace(tag=tag)
            for said in facts.verdicts.values()
            for tag in [vocabulary.canonical(said.tag)]
        }
        self._best: dict[str, _Claim] = {}
        self._is_plain = not (vocabulary or facts.verdicts)

    def add(self, key: str, claim: _Claim) -> None:
        """Add what a rule says of the tag with this key."""
        before = self._best.get(key)
        if before is None or claim[:3] > before[:3]:
            self._best[key] = claim

    def removed(self, key: str) -> bool:
        """Whether a person or rule removed the tag."""
        if key in self._verdicts:
            return not self._verdicts[key].right
        return key in self._best and self._best[key].removes

    def _own(self, key: str) -> _Claim | None:
        """Return who gives the tag, before narrower tags and exclusions are considered."""
        if (said := self._verdicts.get(key)) is not None:
            given = TagMatch(said.tag, VERDICT, "", said.says, given_by="person")
            return _Claim(_NO_RULE, False, (-_NO_RULE, 0), given) if said.right else None
        claim = self._best.get(key)
        return claim if claim and not claim.removes else None

    def _implied(self, key: str) -> _Claim | None:
        """Return likewise, including narrower tags that imply it."""
        own = self._own(key)
        if own or self.removed(key) or not self._vocabulary.broader:
            return own
        found = [
            (claim, parent)
            for child, parents in self._vocabulary.broader.items()
            for parent in parents
            if tag_key(parent) == key and (claim := self._own(child))
        ]
        if not found:
            return None
        claim, parent = max(found, key=lambda pair: (pair[0].priority, pair[0].earlier))
        match = claim.match
        evidence = f'"{match.tag}" is a kind of "{parent}": {match.evidence}'
        return claim._replace(match=replace(match, tag=parent, evidence=evidence))

    def resolved(self, key: str) -> _Claim | None:
        """Return who gives the tag after all; None: nobody."""
        if self._is_plain:
            return self._own(key)
        claim = self._implied(key)
        if claim is None or key in self._verdicts:  # what a person said excludes nothing that one said
            return claim
        for other in self._vocabulary.exclusive.get(key, ()):
            rival = self._implied(other)
            if rival is not None and (rival.priority, rival.earlier, other) > (claim.priority, claim.earlier, key):
                return None
        return claim

    def keys(self) -> Iterator[str]:
        """Yield the keys of the tags that it has, in no particular order."""
        given = dict.fromkeys((*self._best, *sorted(self._verdicts)))
        for key in tuple(given) if self._vocabulary.broader else ():
            given |= dict.fromkeys(map(tag_key, self._vocabulary.broader.get(key, ())))
        return (key for key in given if self.resolved(key) is not None)

    def tags(self) -> list[TagMatch]:
        """Return the tags in the order of the rules that give them; tags that people gave come last."""
        if self._is_plain:
            found = [(claim, key) for key, claim in self._best.items() if not claim.removes]
        else:
            found = [(claim, key) for key in self.keys() if (claim := self.resolved(key))]
        found.sort(key=lambda pair: ([-place for place in pair[0].earlier], pair[1] not in self._best, pair[1]))
        return [claim.match for claim, _ in found]

    def removals(self) -> frozenset[str]:
        """Return the keys of the tags that were removed."""
        return frozenset(key for key in {*self._best, *self._verdicts} if self.removed(key))


def evaluate(rules: RuleSet, facts: RuleFacts) -> Tagging:
    """Return the tags that `rules` give a video and its scenes.

    Rules whose words do not occur are passed over: only what is true has an effect (see `WordIndex`).
    """
    claims = Claims(rules.vocabulary, facts)
    facts.current_tags = lambda: frozenset(claims.keys())
    scenes = facts.scenes or ()
    of_scenes = [Claims(rules.vocabulary, scene) for scene in scenes]
    for scene, own in zip(scenes, of_scenes, strict=True):
        scene.current_tags = partial(_both, own, claims)
    index = rules.word_index
    possible = index.possible(facts)
    in_scenes = [frozenset(index.possible(scene)) for scene in scenes if rules.scene_fields is not None]
    for number in sorted({*possible, *chain.from_iterable(in_scenes)}) if in_scenes else possible:
        position, rule = rules.in_order[number]
        if rule.scope == "video":
            if rule.truth(facts):
                _claim(claims, rule, position, partial(_match, rule, facts))
            continue
        truths = [number in known and rule.truth(scene) for scene, known in zip(scenes, in_scenes, strict=True)]
        for own, truth in zip(of_scenes, truths, strict=True):
            if truth:
                _claim(own, rule, position, partial(TagMatch, "", rule.name, "", ""))  # evidence: see `_spans`
        if rule.hold.truth(scenes, truths):
            _claim(claims, rule, position, partial(_held, rule, scenes, truths))
    return Tagging(tuple(claims.tags()), tuple(_spans(rules, scenes, of_scenes)), claims.removals())


def _both(own: Claims, of_video: Claims) -> Collection[str]:
    return frozenset((*own.keys(), *of_video.keys()))


def _claim(claims: Claims, rule: Rule, position: int, match: partial[TagMatch]) -> None:
    made: TagMatch | None = None
    for number, (key, tag) in enumerate(rule.keyed_tags):
        made = made or match()
        claims.add(key, _Claim(rule.priority, False, (-position, -number), replace(made, tag=tag)))
    for tag in rule.removes:
        claims.add(tag_key(tag), _Claim(rule.priority, True, (-position, 0), TagMatch(tag, rule.name, "", "")))


def _match(rule: Rule, facts: RuleFacts) -> TagMatch:
    support = rule.support(facts)
    names = " + ".join(dict.fromkeys(name for name, _ in support))
    evidence = "; ".join(dict.fromkeys(block.evidence(facts) for _, block in support)) or rule.denial(facts)
    suggested = sorted({tag for _, block in support if isinstance(block, TagBlock) for tag in block.hits(facts)})
    return TagMatch("", rule.name, names, evidence, rule.facet, tuple(suggested))


def _held(rule: Rule, scenes: Sequence[RuleFacts], truths: Sequence[Truth]) -> TagMatch:
    matching = [scene for scene, truth in zip(scenes, truths, strict=True) if truth]
    if not matching:
        return TagMatch("", rule.name, "", "it holds for the scenes together", rule.facet)
    first = matching[0]
    made = _match(rule, first)
    where = f"in {len(matching)} of {len(scenes)} scenes, first at {clock_time(first.start_s or 0.0)}"
    return replace(made, evidence=f"{where}: {made.evidence}")


def _spans(rules: RuleSet, scenes: Sequence[RuleFacts], of_scenes: Sequence[Claims]) -> Iterator[SceneMatch]:
    found: dict[tuple[str, str], SceneMatch] = {}
    for scene, claims in zip(scenes, of_scenes, strict=True):
        start_s, end_s = scene.start_s or 0.0, scene.end_s or 0.0
        for match in claims.tags():
            place = (tag_key(match.tag), match.rule)
            before = found.get(place)
            if before is None:
                own = "" if match.given_by == "person" else _match(rules[match.rule], scene).evidence
                found[place] = SceneMatch(match.tag, match.rule, match.evidence + own, ((start_s, end_s),))
            elif before.spans[-1][1] == start_s:
                found[place] = replace(before, spans=(*before.spans[:-1], (before.spans[-1][0], end_s)))
            else:
                found[place] = replace(before, spans=(*before.spans, (start_s, end_s)))
    yield from found.values()
