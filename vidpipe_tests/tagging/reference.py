"""What rules mean, slowly and obviously: every rule is tried on every text, and every tag is argued out by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vidpipe.tagging.evaluation import VERDICT, SceneMatch, Tagging, TagMatch, _held, _match
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.logic import AtLeast, Leaf, Negation, RuleSelection, Statement, Truth
from vidpipe.tagging.rule import Rule
from vidpipe.tagging.rules import RuleSet
from vidpipe.text.words import tag_key


def truth(term: Statement, facts: RuleFacts) -> Truth:
    """True or false if it is so whatever the unknown leaves are; else unknown."""
    match term:
        case RuleSelection():
            return truth(term.term, facts)
        case Negation():
            found = truth(term.term, facts)
            return None if found is None else not found
        case AtLeast():
            truths = [truth(part, facts) for part in term.terms]
            if truths.count(True) >= term.least:
                return True
            return False if len(truths) - truths.count(False) < term.least else None
    assert isinstance(term, Leaf)
    return term.truth(facts)


def applies(rule: Rule, facts: RuleFacts) -> bool:
    return truth(rule.condition, facts) is True and all(truth(one, facts) is False for one in rule.exclusions)


class Argument:
    """Who says what of the tags of one video or scene."""

    def __init__(self, rules: RuleSet, facts: RuleFacts) -> None:
        self.rules, self.facts = rules, facts
        spelled = [(rules.vocabulary.canonical(said.tag), said) for said in facts.verdicts.values()]
        self.verdicts = {tag_key(tag): said._replace(tag=tag) for tag, said in spelled}
        self.said: list[tuple[int, bool, int, int, str, TagMatch]] = []

    def say(self, position: int, rule: Rule, made: Callable[[], TagMatch]) -> None:
        once = made() if rule.tags else None  # what it gives itself is no evidence
        for number, tag in enumerate(rule.tags):
            assert once is not None
            match = replace(once, tag=tag)
            self.said.append((rule.priority, False, position, number, tag_key(tag), match))
        for tag in rule.removes:
            self.said.append((rule.priority, True, position, 0, tag_key(tag), TagMatch(tag, rule.name, "", "")))

    def winner(self, key: str) -> tuple[int, bool, int, int, TagMatch] | None:
        """(priority, whether it removes, position, number, match) of who has the last word, narrower tags aside."""
        if key in self.verdicts:
            said = self.verdicts[key]
            match = TagMatch(said.tag, VERDICT, "", said.says, given_by="person")
            return 1 << 30, not said.right, 1 << 30, 0, match
        found = [(priority, removes, position, number, match)
                 for priority, removes, position, number, other, match in self.said if other == key]  # fmt: skip
        return max(found, key=lambda one: (one[0], one[1], -one[2], -one[3])) if found else None

    def with_narrower(self, key: str) -> tuple[int, bool, int, int, TagMatch] | None:
        own = self.winner(key)
        if own is not None:
            return None if own[1] else own
        found = []
        for child, parents in self.rules.vocabulary.broader.items():
            claim = self.winner(child)
            for parent in parents:
                if tag_key(parent) == key and claim is not None and not claim[1]:
                    why = f'"{claim[4].tag}" is a kind of "{parent}": {claim[4].evidence}'
                    found.append((*claim[:4], replace(claim[4], tag=parent, evidence=why)))
        return max(found, key=lambda one: (one[0], -one[2], -one[3])) if found else None

    def given(self, key: str) -> tuple[int, bool, int, int, TagMatch] | None:
        """Who gives the tag after all; what people said yes to excludes nothing that they said yes to."""
        claim = self.with_narrower(key)
        if key in self.verdicts:
            return claim
        for other in self.rules.vocabulary.exclusive.get(key, ()) if claim else ():
            rival = self.with_narrower(other)
            assert claim is not None
            if rival and (rival[0], -rival[2], -rival[3], other) > (claim[0], -claim[2], -claim[3], key):
                return None
        return claim

    def mentioned(self) -> set[str]:
        named = {one[4] for one in self.said} | set(self.verdicts)
        return named | {tag_key(one) for key in named for one in self.rules.vocabulary.broader.get(key, ())}

    def keys(self) -> frozenset[str]:
        return frozenset(key for key in self.mentioned() if self.given(key))

    def tags(self) -> Iterator[TagMatch]:
        direct = {one[4] for one in self.said}
        found = [(claim, key) for key in self.mentioned() if (claim := self.given(key))]
        found.sort(key=lambda pair: (pair[0][2], pair[0][3], pair[1] not in direct, pair[1]))
        return (claim[4] for claim, _ in found)

    def removed(self) -> frozenset[str]:
        return frozenset(key for key in self.mentioned() if (claim := self.winner(key)) and claim[1])


def reference(rules: RuleSet, facts: RuleFacts) -> Tagging:
    scenes = facts.scenes or ()
    of_video, of_scenes = Argument(rules, facts), [Argument(rules, scene) for scene in scenes]
    facts.current_tags = of_video.keys
    for scene, own in zip(scenes, of_scenes, strict=True):
        scene.current_tags = lambda own=own: own.keys() | of_video.keys()  # type: ignore[misc]
    for position, rule in rules.in_order:
        if rule.scope == "video":
            if applies(rule, facts):
                of_video.say(position, rule, lambda rule=rule: _match(rule, facts))  # type: ignore[misc]
            continue
        truths = [applies(rule, scene) for scene in scenes]
        for scene, own, one in zip(scenes, of_scenes, truths, strict=True):
            if one:
                own.say(position, rule, lambda rule=rule, scene=scene: _match(rule, scene))  # type: ignore[misc]
        if rule.hold.truth(scenes, truths) is True:
            of_video.say(position, rule, lambda rule=rule, truths=truths: _held(rule, scenes, truths))  # type: ignore[misc]
    return Tagging(tuple(of_video.tags()), tuple(spans(scenes, of_scenes)), of_video.removed())


def spans(scenes: tuple[RuleFacts, ...], of_scenes: list[Argument]) -> Iterator[SceneMatch]:
    places: dict[tuple[str, str], list[tuple[RuleFacts, TagMatch]]] = {}
    for scene, own in zip(scenes, of_scenes, strict=True):
        for match in own.tags():
            places.setdefault((tag_key(match.tag), match.rule), []).append((scene, match))
    for found in places.values():
        times: list[tuple[float, float]] = []
        for scene, _ in found:
            start_s, end_s = scene.start_s or 0.0, scene.end_s or 0.0
            if times and times[-1][1] == start_s:
                times[-1] = (times[-1][0], end_s)
            else:
                times.append((start_s, end_s))
        first = found[0][1]
        yield SceneMatch(first.tag, first.rule, first.evidence, tuple(times))
