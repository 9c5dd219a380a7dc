"""The database's shape: what users ask for is answered from indexes."""

from __future__ import annotations

from typing import Any

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, fill


def plan_stages(plan: dict[str, Any]) -> set[str]:
    inner = [plan[name] for name in ("inputStage",) if name in plan] + plan.get("inputStages", [])
    return {plan["stage"]}.union(*map(plan_stages, inner))


def test_what_users_ask_for_needs_no_scan_and_no_sorting(settings: Settings) -> None:
    with Library.open(settings, GRAPH) as library:
        fill(library)
        videos, sources = library.collections["videos"], library.collections["sources"]
        latest = videos.find({}).sort([("added_at", -1), ("_id", 1)]).limit(50)
        either = {"$or": [{"video": {"$in": ["a"]}}, {"earlier_videos": {"$in": ["a"]}}]}
        for cursor in (
            latest,
            videos.find({"ingest.path": "data/media/a.mp4"}),
            videos.find({"ingest.names": "a.mp4"}),
            videos.find({"ingest.urls": "https://a.example"}),
            sources.find(either),
            videos.find({"change_seq": {"$gt": 1}}).sort("change_seq", 1),
            videos.find({"change_seq": {"$exists": True}}).sort("change_seq", -1).limit(1),
            library.collections["tombstones"].find({"change_seq": {"$gt": 1}}),
        ):
            used = plan_stages(cursor.explain()["queryPlanner"]["winningPlan"])
            assert not used & {"COLLSCAN", "SORT"}, used
