"""Statistics as plain values, for JSON."""

from __future__ import annotations

from dataclasses import asdict

from vidpipe.library.schema import Document
from vidpipe.measures.statistics import Statistics


def as_plain(statistics: Statistics) -> Document:
    """For JSON: quantities under names with their unit, rates from 0 to 1."""
    return {
        "since": statistics.since,
        "until": statistics.until,
        "library": {
            "videos": statistics.videos, "footage_s": statistics.footage_s, "size_bytes": statistics.size_bytes,
        },
        "stages": {
            stage.stage: {
                "videos": stage.videos, "median_s": stage.median_s, "p95_s": stage.p95_s,
                "longest_s": stage.longest_s, "total_s": stage.total_s, "speed": stage.speed,
                "computed": stage.computed, "current": stage.current, "failed": stage.failed,
                "hit_rate": stage.hit_rate, "failure_rate": stage.failure_rate, "failing_videos": stage.failing,
            }
            for stage in statistics.stages
        },
        "slowest": [
            {
                "video": video.sha256, "name": video.name, "seconds": video.seconds, "duration_s": video.duration_s,
                "seconds_per_minute": video.seconds_per_minute, "stages": dict(video.stages),
            }
            for video in statistics.slowest
        ],
        "days": [
            {
                "day": day.day.isoformat(), "videos": day.videos, "footage_s": day.footage_s,
                "size_bytes": day.size_bytes, "runs": day.runs, "computed": day.computed, "current": day.current,
                "failed": day.failed, "hit_rate": day.hit_rate, "seconds": day.seconds, "bytes_in": day.bytes_in,
            }
            for day in statistics.days
        ],
        "runs": {
            **statistics.runs, "busy_s": statistics.busy_s, "stage_seconds": statistics.stage_seconds,
            "results": statistics.results, "results_per_hour": statistics.results_per_hour,
            "bytes_in": statistics.bytes_in,
        },
        "model": {"names": statistics.models, **asdict(statistics.model_use)},
    }  # fmt: skip
