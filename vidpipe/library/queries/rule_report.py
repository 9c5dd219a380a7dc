"""How good the rules are: what each covers, how often it is right, which ones disagree, and what to ask people next.

Rules are measured as they are now: whether a rule gives a tag to a judged video is evaluated afresh, before people's
verdicts, in the videos judged last. In others, and where results are missing, the rule stored with the verdict counts.
Tags and categories as such are counted as they were when the verdicts were given.
"""

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice, permutations, zip_longest
from typing import Any

from pydantic import BaseModel

from vidpipe.errors import SettingsError
from vidpipe.library.library import Library
from vidpipe.library.videos import chunked, projection, read_fields
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.results import MODEL_TAGS
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.tagging.evaluation import evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.measures import measure
from vidpipe.tagging.rule import Rule
from vidpipe.tagging.rules import RuleSet
from vidpipe.text.messages import did_you_mean
from vidpipe.text.words import Keyword, normalize, tag_key

#: A rule can be stable if its precision is at least this, with 95 % confidence.
STABLE = 0.8
_MOST_JUDGED, _MOST_SAMPLED, _MOST_ASKED, _ASKED_VIDEOS = 500, 300, 10, 3
#: In larger libraries, fewer videos are sampled for each rule.
_SMALL = 10_000
#: (given, right) -> what a verdict says.
_OUTCOMES = {(True, True): "yes", (True, False): "no", (False, True): "missed", (False, False): "rightly not given"}

Row = dict[str, Any]
_Samples = dict[Any, list[str]]


class RuleReport(BaseModel):
    """The report. A measure is: yes, no, missed, precision, low, high, recall, f1; see `vidpipe.tagging.measures`.

    Attributes:
        verdicts: Number of verdicts, on anything.
        evaluated: Number of videos in which rules were evaluated afresh.
        rules: rule, title, status, tags; videos: to how many videos, or scenes of them, it gives a tag; its measure;
            conditions: the selections that gave wrong tags, each with its measure, the most wrong first; advice on its
            status.
        tags: tag, videos, and its measure, whoever gives it.
        categories: category, videos, and its measure.
        pairs: kind, rule, other, tag, videos, of: in so many `videos` `of` the evaluated ones to which `rule` applies,
            `other` gives the same tag (overlap), removes it (removes), or gives one that excludes it (excludes).
        ask_next: rule, tag, videos, weight, ask, commands: the verdicts that would tell the most. The weight is the
            width of the rule's interval times the number of videos; `ask` are videos without a verdict, at random.
        keywords: keyword, descriptions, model_tags: in how many videos each priority keyword was found.
    """

    verdicts: int
    evaluated: int
    rules: list[Row]
    tags: list[Row]
    categories: list[Row]
    pairs: list[Row]
    ask_next: list[Row]
    keywords: list[Row]


def rule_report(
    library: Library, rules: RuleSet, keywords: Sequence[str], rule: str | None = None, tag: str | None = None
) -> RuleReport:
    """Return the report on all rules, or on the chosen ones.

    Args:
        library: The library.
        rules: The rules in force.
        keywords: Priority keywords to count.
        rule: Only the rule that has this id, or had it formerly.
        tag: Only rules that decide about this tag.

    Raises:
        SettingsError: There is no such rule.
    """
    former: dict[Any, str] = {old: one.name for one in rules.rules if one.source for old in one.source.formerly}
    chosen = [one for one in rules.rules if former.get(rule, rule) in (None, one.name)
              and (tag is None or tag_key(tag) in one.decides)]  # fmt: skip
    if not chosen and (rule or tag):
        near = did_you_mean(rule or tag or "", [name for one in rules.rules for name in (one.name, *one.tags)])
        raise SettingsError(f"No rule has that id or decides about that tag{near}", "`vidpipe rules report` lists all.")
    said = [{"kind": "tag", "rule": None, **row} for row in library.collections["verdicts"].find().sort("at", -1)]
    names = {tag_key(row["tag"]): row["tag"] for row in said if rule is tag is None and row["kind"] == "tag"}
    names |= {key: name for one in chosen for key, name in one.keyed_tags}
    given, samples = _coverage(library, former, list(names.values()))
    judged = {row["video"]: None for row in said if tag_key(row["tag"]) in names}
    spread = filter(None, chain.from_iterable(zip_longest(*(samples[one.name, None] for one in chosen))))
    applied = dict(_evaluated(library, rules, [*islice(judged, _MOST_JUDGED), *islice(spread, _MOST_SAMPLED)]))
    counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in said:
        key, right, by = tag_key(row["tag"]), row["verdict"] == "yes", former.get(row["rule"], row["rule"])
        # of a category no rule is stored; people judge the one that is there
        counts[row["kind"], key][_OUTCOMES[by is not None or row["kind"] == "category", right]] += 1
        stored = {by: row.get("block") or "(unknown)"}
        givers = applied.get(row["video"], stored) if row.get("start_s") is None else stored
        for name in (one.name for one in chosen if row["kind"] == "tag" and key in dict(one.keyed_tags)):
            counts["rule", name][_OUTCOMES[name in givers, right]] += 1
            counts["condition", name, givers.get(name, "")][_OUTCOMES[name in givers, right]] += 1
    videos = Counter[str]()
    for (_, name), number in given.items():
        videos[tag_key(name or "")] += number
    figures = [_figures(one, counts, given[one.name, None]) for one in chosen]
    grouped = library.collections["videos"].aggregate([{"$sortByCount": "$category.category"}])
    categories = {row["_id"]: row["count"] for row in grouped if row["_id"] and rule is tag is None}
    return RuleReport(
        verdicts=len(said), evaluated=len(applied), rules=figures, pairs=_pairs(rules, chosen, applied),
        tags=[{"tag": names[key], "videos": videos[key]} | measure(counts["tag", key]) for key in sorted(names)],
        categories=[{"category": name, "videos": number} | measure(counts["category", tag_key(name)])
                    for name, number in categories.items()],
        ask_next=_ask_next(figures, given, samples, judged), keywords=_found(library, keywords),
    )  # fmt: skip


def _coverage(library: Library, former: Mapping[str, str], tags: list[str]) -> tuple[Counter[Any], _Samples]:
    """Return (rule, tag) -> number of videos, and some of them at random; the tag None: any, of scenes as well."""
    both = {"$concatArrays": [{"$ifNull": ["$tags", []]}, {"$ifNull": ["$scene_tags", []]}]}
    pairs = [{"$map": {"input": {"$ifNull": ["$tags", []]}, "in": {"rule": "$$this.rule", "tag": "$$this.tag"}}},
             {"$map": {"input": both, "in": {"rule": "$$this.rule"}}}]  # fmt: skip
    counts, samples = Counter[Any](), defaultdict[Any, list[str]](list)
    digits = 1 if library.collections["videos"].estimated_document_count() > _SMALL else 2
    for row in library.collections["videos"].aggregate([
        {"$project": {"given": {"$setUnion": pairs}, "part": {"$substrBytes": ["$_id", 0, digits]}}},
        {"$unwind": "$given"},
        {"$match": {"$or": [{"given.rule": {"$ne": MODEL_TAGS}}, {"given.tag": {"$in": tags}}]}},
        {"$group": {"_id": ["$given.rule", "$given.tag", "$part"], "n": {"$sum": 1}, "one": {"$min": "$_id"}}},
        {"$sort": {"one": 1}},
    ], allowDiskUse=True):  # fmt: skip
        rule, tag, _ = row["_id"]
        counts[former.get(rule, rule), tag] += row["n"]
        samples[former.get(rule, rule), tag].append(row["one"])
    return counts, samples


def _evaluated(library: Library, rules: RuleSet, ids: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each video that has the results needed, with the rules that apply to it and the selections that matched."""
    stage, analyses = library.graph["tags"], enabled_analyses(library.settings)
    reads, optional = stage.all_reads, stage.optional_reads
    for batch in chunked(dict.fromkeys(ids), 100):
        scenes = library.videos.scenes(batch)
        for row in library.collections["videos"].find({"_id": {"$in": batch}}, projection(library.graph, reads)):
            with suppress(KeyError, TypeError, ValueError):  # results are missing or of another version
                fields = read_fields(library.graph, reads, row, scenes.get(row["_id"], ()), optional)
                evaluate(rules, facts := rule_facts(fields, analyses=analyses))  # gives it the tags that rules check
                found = {
                    one.name: selections for one in rules.rules if (selections := _matched(one, facts)) is not None
                }
                yield row["_id"], found


def _matched(rule: Rule, facts: RuleFacts) -> str | None:
    """Return the selections that made a rule apply; None: it does not apply."""
    scenes = facts.scenes or () if rule.scope == "scene" else ()
    truths = [rule.truth(scene) for scene in scenes]
    if not (rule.hold.truth(scenes, truths) if rule.scope == "scene" else rule.truth(facts)):
        return None
    where = next((scene for scene, truth in zip(scenes, truths, strict=True) if truth), facts)
    return " + ".join(dict.fromkeys(name for name, _ in rule.support(where)))


def _figures(rule: Rule, counts: Mapping[tuple[str, ...], Counter[str]], videos: int) -> Row:
    of_rule = ((place[2], found) for place, found in counts.items() if place[:2] == ("condition", rule.name))
    conditions = [{"condition": name, **measure(found)} for name, found in of_rule if found["no"]]
    made = measure(counts["rule", rule.name])
    status = "stable" if made["low"] >= STABLE else "experimental" if made["high"] < STABLE else rule.status
    advice = f"{made['yes']} of {made['yes'] + made['no']} are right, so {made['low']:.0%} to {made['high']:.0%}: "
    advice += f"{'stays' if status == rule.status else 'can be' if status == 'stable' else 'should be'} {status}"
    tests = "its tests pass (vidpipe rules check)" if rule.source else ""
    return {"rule": rule.name, "title": rule.title, "status": rule.status, "tags": list(rule.tags), "videos": videos,
            **made, "conditions": sorted(conditions, key=lambda one: -one["no"]),
            "advice": f"{advice}; stable needs {STABLE:.0%} and that {tests}" if tests else advice}  # fmt: skip


def _pairs(rules: RuleSet, chosen: Sequence[Rule], applied: Mapping[str, Mapping[str, str]]) -> list[Row]:
    found: Counter[tuple[str, ...]] = Counter()
    of = Counter(name for names in applied.values() for name in names)
    for one, other in ((rules[a], rules[b]) for names in applied.values() for a, b in permutations(names, 2)):
        for key, tag in one.keyed_tags if one in chosen or other in chosen else ():
            gives, excluded = dict(other.keyed_tags).keys(), rules.vocabulary.exclusive.get(key, frozenset())
            kinds = {"overlap": key in gives, "removes": key in other.decides - gives, "excludes": excluded & gives}
            found.update((kind, one.name, other.name, tag) for kind, holds in kinds.items() if holds)
    keys = ("kind", "rule", "other", "tag", "videos", "of")
    return [dict(zip(keys, (*pair, number, of[pair[1]]), strict=True)) for pair, number in found.most_common()]


def _ask_next(figures: list[Row], given: Mapping[Any, int], samples: _Samples, judged: Any) -> list[Row]:
    found: list[Row] = []
    for one, tag in ((row, tag) for row in figures for tag in row["tags"]):
        videos, some = given[one["rule"], tag], samples[one["rule"], tag]
        ask = [video for video in some if video not in judged][:_ASKED_VIDEOS]
        commands = [f"vidpipe verdict {video[:12]} {shlex.quote(tag)} yes" for video in ask]
        row = {"rule": one["rule"], "tag": tag, "videos": videos, "weight": (one["high"] - one["low"]) * videos}
        found += [row | {"ask": ask, "commands": commands}] if ask else []
    return sorted(found, key=lambda row: -row["weight"])[:_MOST_ASKED]


def _found(library: Library, keywords: Sequence[str]) -> list[Row]:
    """Return in how many descriptions, and in how many videos' model tags, each keyword occurs."""
    found: dict[str, Row] = {word: {"keyword": word, "descriptions": 0, "model_tags": 0} for word in keywords}
    forms = {form: word for word in keywords for form in Keyword.parse(word).forms}
    single = {form.strip(): word for form, word in forms.items() if form.count(" ") == 2}
    phrases = [form for form in forms if form.strip() not in single]
    query = {"description": {"$exists": True}} if keywords else {"_id": None}
    for row in library.collections["videos"].find(query, {"description.text": 1, "description.tags.tag": 1}):
        texts = {"descriptions": [row["description"].get("text") or ""],
                 "model_tags": [one["tag"] for one in row["description"].get("tags") or ()]}  # fmt: skip
        for place, words in ((place, "".join(map(normalize, said))) for place, said in texts.items()):
            hits = {single[one] for one in single.keys() & words.split()}
            for word in hits | {forms[one] for one in phrases if one in words}:
                found[word][place] += 1
    return list(found.values())
