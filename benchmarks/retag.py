"""What a changed rule costs over a large library: `python -m benchmarks.retag [VIDEOS]`.

VIDEOS (100,000) videos, made of 10 real ones (`benchmarks.synthetic_library`) with ten scenes each, are tagged under
500 rules and known to Dagster. `DISTINCT` of them have texts of their own; a larger library holds each several times.
Then a rule is added that gives one video in a hundred another tag. Limits are for 100,000 videos, and in proportion for
fewer; rates are per second of processor time, which other programs hardly change:

    rate          videos per second on one core, in memory: one changed rule 20,000; all rules 1,500, and three times
                  the loop before, which asks every rule of every video (it has the same facts)
    plan          `RulePreview` over the library: 20 s
    edit          from the edit to the end of the run of the job `process`, when library and Dagster agree: 60 s; only
                  what came out otherwise is materialised
    memory        peak of this process, next to that at a tenth of the videos, in a process of its own: 1.2 times
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from benchmarks.described_library import Words, english
from benchmarks.homes import empty_home
from benchmarks.synthetic_library import fill, make_prototypes
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.rule_preview import RULE_STAGES, RulePreview
from vidpipe.runner.video_state import VideoState
from vidpipe.settings import Settings
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.stages.versions import fingerprint
from vidpipe.tagging.changed_rules import ChangedRules
from vidpipe.tagging.evaluation import Claims, Tagging, _claim, _match, evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.rules import RuleSet, build_rules
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "retag"
STAGES = [stage.name for stage in GRAPH if stage.job == "label"]
LIMIT_OF, PLAN_S, EDIT_S = 100_000, 20.0, 60.0
RULES, SCENES, SAMPLE, DISTINCT, PROTOTYPES, ROUND_S = 500, 10, 1000, 2000, 10, 2.0
#: A word that one description in a hundred contains.
MARK = "zanzibar"


def edit(settings: Settings, file: Path, key: str, entries: list[dict[str, Any]]) -> None:
    """Adds rules or categories."""
    path = settings.resolve(file)
    document = json.loads(path.read_text())
    document[key] += entries
    path.write_text(json.dumps(document, indent=1))


def more_rules(vocabulary: list[str], count: int) -> list[dict[str, Any]]:
    """Rules such as people write: words and phrases of any frequency, some with a condition, some of the full form."""
    pick = random.Random(3)
    rules: list[dict[str, Any]] = []
    for number in range(count):
        words = pick.sample(vocabulary[100:5000], pick.randint(3, 12))
        tag = {"tags": [f"Subject {number % 300}"]}
        phrase = " ".join(words[:2])
        if number % 5 == 0:
            selections = {"said": {"said|word": words}, "shown": {"description|phrase": phrase, "brightness|gt": 0.1}}
            rules.append({"id": f"full-{number}", "selections": selections, "condition": "said or shown", **tag})
        else:
            key = ("description_keywords", "subtitle_keywords", "text_keywords")[number % 3]
            more = {"metadata_conditions": {"duration_gt": 1}, "match": "all"} if number % 7 == 0 else {}
            rules.append({"name": f"words {number}", key: [*words, phrase], **more, **tag})
    return rules


def own_texts(settings: Settings, library: Library) -> Callable[[int, dict[str, Any]], list[dict[str, Any]]]:
    """Gives copies descriptions and scenes of their own, and the tags and category that follow."""
    words = Words(english(), 3)
    plan = Plan.make(GRAPH, settings, RULE_STAGES)

    def fill_in(number: int, copy: dict[str, Any]) -> list[dict[str, Any]]:
        copy["description"]["text"] = text = words.text(40) + (f" {MARK}." if number % 100 == 0 else "")
        copy["stages"]["descriptions"]["data"]["text"] = fingerprint(text)
        generation, length_s = copy["_id"][:16], copy["scenes"]["duration_s"] / SCENES
        copy["scene_generation"] = generation
        stats = copy["scenes"]["stats"]
        scenes = [
            {"_id": f"{copy['_id']}:{generation}:{index:05d}", "video": copy["_id"], "generation": generation,
             "index": index, "start_s": index * length_s, "end_s": (index + 1) * length_s, "start_frame": index,
             "end_frame": index + 1, "stats": stats, "description": words.text(20), "described_by": "benchmark"}
            for index in range(SCENES)
        ]  # fmt: skip
        for stage in plan.stages:
            copy["stages"][stage.name]["inputs"] = GRAPH.inputs(stage.name, copy["stages"])
            state = VideoState(copy, GRAPH, lambda *_: scenes)
            (outcome,) = stage.function([plan.item(stage, state)], plan.context_of(stage, library))
            assert outcome.result is not None
            stored = outcome.result.model_dump(mode="json")
            copy.update(stored if stage.result.root else {stage.key: stored})
            copy["stages"][stage.name]["data"] = GRAPH.data_versions(stage.name, outcome.result)
        return scenes

    return fill_in


def multiply(settings: Settings, library: Library, videos: int) -> None:
    """Stores the videos, and what Dagster knows of them, again under other ids, in the servers, until there are enough.

    An id is a hash, so its first digits are as good as any.
    """
    prefixes = [hashlib.sha256(str(number).encode()).hexdigest()[:8] for number in range(1, videos // DISTINCT)]
    for collection, keys in (("videos", ["_id"]), ("scenes", ["_id", "video"])):
        given = library.collections[collection]
        first = given.database["first"]
        given.aggregate([{"$out": first.name}])
        for prefix in prefixes:
            ids = {key: {"$concat": [prefix, {"$substrBytes": [f"${key}", 8, -1]}]} for key in keys}
            first.aggregate([{"$set": ids}, {"$merge": {"into": given.name, "whenMatched": "fail"}}])
        first.drop()
    own = "? || substr(partition, 9)"
    with closing(sqlite3.connect(_history(settings))) as history, history:
        columns = "run_id, dagster_event_type, timestamp, step_key, asset_key, partition, event"
        values = columns.replace("partition, event", f"{own}, replace(event, partition, {own})")
        (last,) = history.execute("SELECT max(id) FROM event_logs").fetchone()
        for prefix in prefixes:
            copied = f"SELECT {values} FROM event_logs WHERE id <= ? AND partition IS NOT NULL"  # noqa: S608
            history.execute(f"INSERT INTO event_logs ({columns}) {copied}", (prefix, prefix, last))
        (last,) = history.execute("SELECT max(id) FROM dynamic_partitions").fetchone()
        for prefix in prefixes:
            copied = f"SELECT partitions_def_name, {own} FROM dynamic_partitions WHERE id <= ?"  # noqa: S608
            history.execute(f"INSERT INTO dynamic_partitions (partitions_def_name, partition) {copied}", (prefix, last))


def _history(settings: Settings) -> Path:
    return dagster_home(settings) / "history" / "runs" / "index.db"


def materializations(settings: Settings) -> int:
    """Number of materializations of the label stages in Dagster's history."""
    kind, keys = dg.DagsterEventType.ASSET_MATERIALIZATION.value, [json.dumps([stage]) for stage in STAGES]
    asked = f"dagster_event_type = ? AND asset_key IN ({', '.join('?' * len(keys))})"
    with closing(sqlite3.connect(_history(settings))) as history:
        return int(history.execute(f"SELECT count(*) FROM event_logs WHERE {asked}", [kind, *keys]).fetchone()[0])  # noqa: S608


def loop_before(rules: RuleSet, facts: RuleFacts) -> Tagging:
    """What `evaluate` did for rules about videos: it asked every one of them."""
    claims = Claims(rules.vocabulary, facts)
    facts.current_tags = lambda: frozenset(claims.keys())
    for position, rule in rules.in_order:
        if rule.truth(facts):
            _claim(claims, rule, position, partial(_match, rule, facts))
    return Tagging(tuple(claims.tags()), (), claims.removals())


def rate(settings: Settings, library: Library, rules: RuleSet, apply: Callable[[RuleSet, RuleFacts], Tagging]) -> float:
    """Videos per second of processor time, the best of three rounds."""
    plan = Plan.make(GRAPH, settings, ["tags"], given={"custom_tags": rules})
    stage = GRAPH["tags"]
    found = library.collections["videos"].find().limit(SAMPLE)
    items = [plan.item(stage, VideoState(document, GRAPH)).fields for document in found]
    apply(rules, rule_facts(items[0]))
    rounds = []
    for _ in range(3):
        began, done = time.thread_time(), 0
        while time.thread_time() - began < ROUND_S:
            apply(rules, rule_facts(items[done % len(items)]))
            done += 1
        rounds.append(done / (time.thread_time() - began))
    return max(rounds)


def sweep(settings: Settings, library: Library) -> None:
    """Brings what is due in the label stages up to date."""
    report = run_process(settings, RunRequest(stages=STAGES), library=library)
    if not report.ok or report.counts["tags"]["computed"] != library.videos.count():
        raise SystemExit(f"not everything was swept: {report.counts}")


def changed_outcomes(library: Library) -> int:
    """Commits of the label stages so far that changed anything."""
    return library.collections["lineage"].count_documents(
        {"kind": "commit", "stage": {"$in": STAGES}, "status": "ok", "changed": {"$ne": []}}
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def within(what: str, found: float, limit: float, *, least: bool = False) -> bool:
    reached = found >= limit if least else found <= limit
    print(f"{what}: {found:,.2f} ({'at least' if least else 'limit'} {limit:,.2f}) {'' if reached else 'NOT reached'}")
    return reached


@contextmanager
def timed(settings: Settings, what: str, limit_s: float = math.inf) -> Iterator[list[bool]]:
    """Prints wall time, and processor time of this process and of mongod; leaves whether the limit was kept."""
    mongod, kept = psutil.Process(embedded.status(settings).pid), list[bool]()
    began, own, of_mongod = time.monotonic(), time.process_time(), sum(mongod.cpu_times()[:2])
    yield kept
    wall_s, own, of_mongod = (
        time.monotonic() - began,
        time.process_time() - own,
        sum(mongod.cpu_times()[:2]) - of_mongod,
    )
    kept.append(wall_s <= limit_s)
    limit = "" if limit_s == math.inf else f", limit {limit_s:.1f}{'' if kept[0] else ': NOT reached'}"
    print(f"{what}: {wall_s:.1f} s{limit} (CPU {own:.1f} s, mongod {of_mongod:.1f} s)", flush=True)


def prepare(settings: Settings, videos: int) -> None:
    """Fills the library. Dagster knows all of it."""
    rules = settings.rules.custom_tag_rules
    edit(settings, rules, "rules", more_rules(english(), RULES - len(build_rules(settings).rules)))
    with Library.open(settings, GRAPH) as library:
        clips = make_prototypes(OUT / "prototypes", PROTOTYPES)
        with timed(settings, "distinct videos"):
            fill(library, settings, clips, min(videos, DISTINCT), own_texts(settings, library))
        edit(settings, settings.rules.categories, "categories", [{"name": "Never", "keywords": ["no such word"]}])
        edit(settings, rules, "rules", [{"name": "never", "tags": ["Marked"], "description_keywords": ["xyzzy"]}])
        with timed(settings, "their first sweep, reported to Dagster"):
            sweep(settings, library)
        if materializations(settings) < 2 * library.videos.count():
            raise SystemExit(f"Dagster knows {materializations(settings)} results")
        with timed(settings, f"{videos:,} videos"):
            multiply(settings, library, videos)


def measure(videos: int) -> bool:
    settings = empty_home(OUT / f"home-{videos}")
    prepare(settings, videos)
    share, before = videos / LIMIT_OF, build_rules(settings)
    marked = {"name": "marked", "tags": ["Marked"], "description_keywords": [MARK]}
    edit(settings, settings.rules.custom_tag_rules, "rules", [marked])
    rules = build_rules(settings)
    concerned = ChangedRules.between(before, rules)
    assert concerned is not None
    with Library.open(settings, GRAPH) as library:
        few, every, former = (
            rate(settings, library, *how)
            for how in ((concerned.rules, evaluate), (rules, evaluate), (rules, loop_before))
        )
        good = [
            within("one changed rule, videos per second of CPU", few, 20_000, least=True),
            within(f"{len(rules.rules)} rules, videos per second of CPU", every, 1_500, least=True),
            within("compared with the loop before", every / former, 3, least=True),
        ]
        with timed(settings, "plan", PLAN_S * share) as kept:
            preview = RulePreview.of(library, Plan.make(GRAPH, settings, RULE_STAGES))
        good += kept
        print(f"the plan: {preview.compared} compared, {preview.changed} changed, {preview.waiting} waiting")
        outcomes, known = changed_outcomes(library), materializations(settings)
        with timed(settings, "edit to agreement", EDIT_S * share) as kept:
            sweep(settings, library)
        good += kept
        outcomes, known = changed_outcomes(library) - outcomes, materializations(settings) - known
        tagged = library.collections["videos"].count_documents({"tags.tag": "Marked"})
        print(f"materialised: {known}, changed outcomes: {outcomes}, tagged: {tagged}")
        good += [known == outcomes, preview.changed == tagged]
    embedded.stop(settings)
    return all(good)


def main(videos: int, *, alone: bool) -> int:
    if alone:
        reached = measure(videos)
        print(f"peak memory, MiB: {peak_mib():.0f}")
        return 0 if reached else 1
    few = [sys.executable, "-m", "benchmarks.retag", str(videos // 10), "--alone"]
    done = subprocess.run(few, capture_output=True, text=True, check=False)
    if "peak memory" not in done.stdout:
        raise SystemExit(done.stdout + done.stderr)
    reached = measure(videos)
    reached &= within("peak memory, to that at a tenth of the videos", peak_mib() / float(done.stdout.split()[-1]), 1.2)
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    sys.exit(main(numbers[0] if numbers else LIMIT_OF, alone="--alone" in sys.argv))
