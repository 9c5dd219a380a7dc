"""What a changed rule costs over a large library: `python -m benchmarks.sweep [VIDEOS]`.

VIDEOS (100,000) videos, made of 50 real ones (see `benchmarks.synthetic_library`), are tagged and known to Dagster.
Then a rule is added that gives one video in a hundred another tag, and the job `process` sweeps the label stages.
Limit: 60 s for 100,000 videos, and in proportion for fewer. Printed besides:

    CPU           seconds of this process, without MongoDB's: what the sweep would take on an idle machine at least
    bare loop     the same rules over one cursor, compared with the tags stored, the changed ones written in one bulk:
                  what the work itself costs, without versions, lineage, categories, Dagster or safety
    materialised  how many events the run put into Dagster's log, against how many outcomes changed
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
from pymongo import UpdateOne

from benchmarks.homes import empty_home
from benchmarks.synthetic_library import fill, make_prototypes
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.videos import projection, read_fields
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.instance import instance
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.results import Tag
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.stages.tags import READS
from vidpipe.tagging.rules import build_rules, evaluate
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "sweep"
STAGES = [stage.name for stage in GRAPH if stage.job == "label"]
LIMIT_S, LIMIT_OF = 60.0, 100_000


def add(settings: Settings, file: Path, key: str, entry: dict[str, Any]) -> None:
    """Adds a rule or a category."""
    path = settings.resolve(file)
    document = json.loads(path.read_text())
    document[key].append(entry)
    path.write_text(json.dumps(document, indent=1))


def add_rule(settings: Settings, rule: dict[str, Any]) -> None:
    add(settings, settings.rules.custom_tag_rules, "rules", rule)


def bare_loop(settings: Settings, library: Library) -> tuple[float, float, int]:
    """(seconds, CPU seconds, number of videos with changed tags). What it writes is not read."""
    rules = build_rules(settings)
    videos = library.collections["videos"]
    began, busy = time.monotonic(), time.process_time()
    changes = []
    for document in videos.find({}, projection(GRAPH, READS, ["tags"])):
        matches = evaluate(rules, rule_facts(read_fields(GRAPH, READS, document, ())))
        tags = [Tag(**vars(match)).model_dump() for match in matches]
        if tags != document["tags"]:
            changes.append(UpdateOne({"_id": document["_id"]}, {"$set": {"bare_loop": tags}}))
    if changes:
        videos.bulk_write(changes, ordered=False)
    return time.monotonic() - began, time.process_time() - busy, len(changes)


def sweep(settings: Settings, library: Library) -> tuple[float, float, int]:
    """(seconds, CPU seconds, materialisations in Dagster's log) of a run over all that is due in the label stages."""
    began, busy = time.monotonic(), time.process_time()
    report = run_process(settings, RunRequest(stages=STAGES), library=library)
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    if not report.ok or report.counts["tags"]["computed"] != library.videos.count():
        raise SystemExit(f"not everything was swept: {report.counts}")
    with instance(settings) as dagster:
        (run,) = dagster.get_runs(limit=1)
        return seconds, busy, materialisations(dagster, run.run_id)


def changed_outcomes(library: Library) -> int:
    """Commits of the label stages so far that changed anything."""
    return library.collections["lineage"].count_documents(
        {"kind": "commit", "stage": {"$in": STAGES}, "status": "ok", "changed": {"$ne": []}}
    )


def materialisations(dagster: dg.DagsterInstance, run_id: str) -> int:
    """Counted page by page: the first sweep has 100,000 times three."""
    count, cursor, more = 0, None, True
    while more:
        page = dagster.get_records_for_run(run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=1000)
        count, cursor, more = count + len(page.records), page.cursor, page.has_more
    return count


def main(videos: int) -> int:
    settings = empty_home(OUT / "home")
    with Library.open(settings, GRAPH) as library:
        fill(library, settings, make_prototypes(OUT / "prototypes"), videos)
        # Dagster does not know the copies: the first sweep reports their tags and categories.
        add(settings, settings.rules.categories, "categories", {"name": "Never", "keywords": ["no such word"]})
        add_rule(settings, {"name": "never", "tags": ["Never"], "filename_patterns": ["no-such-name-*"]})
        first_s, _, first_reported = sweep(settings, library)
        add_rule(settings, {"name": "some", "tags": ["Sport"], "filename_patterns": ["one-in-hundred-*"]})
        bare_s, bare_cpu_s, changed = bare_loop(settings, library)
        before = changed_outcomes(library)
        seconds, cpu_s, reported = sweep(settings, library)
        outcomes = changed_outcomes(library) - before
    embedded.stop(settings)
    limit_s = LIMIT_S * videos / LIMIT_OF
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{videos} videos, {changed} with other tags")
    print(f"first sweep, which reports to Dagster all {first_reported} results: {first_s:.1f} s")
    print(f"bare loop: {bare_s:.1f} s, {1000 * bare_s / videos:.2f} ms a video; CPU {bare_cpu_s:.1f} s")
    print(
        f"sweep: {seconds:.1f} s, {1000 * seconds / videos:.2f} ms a video (limit {limit_s:.1f} s); CPU {cpu_s:.1f} s; "
        f"{seconds / bare_s:.2f} of the bare loop"
    )
    print(f"materialised: {reported}, changed outcomes: {outcomes}; peak memory of this process {peak_mib:.0f} MiB")
    reached = seconds <= limit_s and reported == outcomes
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else LIMIT_OF))
