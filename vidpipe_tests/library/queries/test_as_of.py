"""Tags and categories as of a time are those that were stored then, or unknown; nothing is guessed."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from vidpipe.library import server_clock
from vidpipe.library.library import Library
from vidpipe.library.queries.as_of import AsOf
from vidpipe.library.queries.export import export
from vidpipe.library.schema import Document
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.text.words import tag_key
from vidpipe_tests.library import sample_library
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, NAMES, SHARP, write_rules

_TAGS = ("Long", "long", "Sharp", "Harbour", "Film")
_WORDS = ("harbour", "boat", "car", "race", "lighthouse")


def _rules(draw: random.Random) -> list[dict[str, Any]]:
    """Rules that any edit may lead to: other tags, spellings, names and conditions."""
    return [
        {"name": f"r{number}", "tags": draw.sample(_TAGS, 2), "description_keywords": draw.sample(_WORDS, 2)}
        for number in draw.sample(range(5), draw.randrange(4))
    ]


def _run(library: Library) -> datetime:
    Runner(library, Plan.make(GRAPH, library.settings)).run()
    return server_clock.now()


def _stored(library: Library) -> dict[str, Any]:
    return {
        row["_id"]: (
            sorted(
                ({name: tag[name] for name in ("tag", "rule", "evidence")} for tag in row["tags"]),
                key=lambda tag: tag_key(tag["tag"]),
            ),
            row["category"]["category"],
        )
        for row in library.collections["videos"].find()
    }


def _then(library: Library, at: datetime) -> dict[str, Any]:
    ids = [row["_id"] for row in library.collections["videos"].find({}, {"_id": 1})]
    return {row["video"]["sha256"]: (row["tags"], row["category"]) for row in AsOf(library, at).read(ids)}


def test_after_any_edits_each_moment_can_be_exported_as_it_was(settings: Settings) -> None:
    draw = random.Random(17)
    write_rules(settings, [LONG])
    with Library.open(settings, GRAPH) as library:
        moments: list[tuple[datetime, dict[str, Any]]] = []
        for edit in range(8):
            if edit in (0, 4):
                sample_library.put(library, NAMES[edit])
                sample_library.put(library, NAMES[7 + edit])
            write_rules(settings, _rules(draw), sports=draw.sample(_TAGS, 2))
            moments.append((_run(library), _stored(library)))
        assert len({repr(stored) for _, stored in moments}) > 4
        for at, stored in moments:
            assert _then(library, at) == stored


def test_what_the_lineage_does_not_tell_is_unknown(settings: Settings) -> None:
    write_rules(settings, [LONG, SHARP])
    with Library.open(settings, GRAPH) as library:
        video = sample_library.put(library, NAMES[0])
        before = _run(library)
        write_rules(settings, [LONG], sports=["Long"])
        after = _run(library)
        lineage = library.collections["lineage"]
        assert _then(library, before)[video] == ([_tag_of(library, "added", "Sharp")], "Sports")
        lineage.delete_many({"kind": "category"})  # as earlier versions left it
        assert [category for _, category in (_then(library, at)[video] for at in (before, after))] == [
            None,
            "Unclassified",
        ]
        lineage.update_many({"kind": "tag", "change": "removed"}, {"$set": {"change": "added"}})  # does not fit
        past = AsOf(library, before)
        (row,) = past.read([video])
        assert (row["tags"], row["unknown"], past.unknown) == (None, ["tags", "category"], 1)


def _tag_of(library: Library, change: str, tag: str) -> Document:
    row = library.collections["lineage"].find_one({"kind": "tag", "change": change, "tag": tag})
    assert row
    return {name: row[name] for name in ("tag", "rule", "evidence")}


def test_an_export_of_the_past_holds_the_videos_of_that_time_and_nothing_of_today(
    settings: Settings, tmp_path: Path
) -> None:
    write_rules(settings, [SHARP])
    with Library.open(settings, GRAPH) as library:
        video = sample_library.put(library, NAMES[0])
        at = _run(library)
        sample_library.put(library, NAMES[1])
        specs = Plan.make(GRAPH, settings).specs
        export(library, tmp_path / "then.jsonl", "jsonl", specs, past=AsOf(library, at))
        (line,) = map(json.loads, (tmp_path / "then.jsonl").read_text().splitlines())
        assert line.keys() == {"video", "as_of", "tags", "category", "unknown"}
        export(library, tmp_path / "then.csv", "csv", specs, past=AsOf(library, at))
        _, row = (tmp_path / "then.csv").read_text().splitlines()
        assert row.startswith(f"{video},{NAMES[0]},")
        assert row.endswith(",Sharp,Sports,")
        assert _then(library, at - timedelta(days=1)) == {}
