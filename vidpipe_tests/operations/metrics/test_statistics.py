"""`vidpipe stats`: what is told of times, hit rates and growth is what was stored."""

from __future__ import annotations

import base64
import hashlib
import re
import statistics as plain_statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.operations.metrics import plots
from vidpipe.operations.metrics.statistics import (
    DayStatistics,
    LibraryStatistics,
    SlowVideo,
    StageStatistics,
    collect_statistics,
    covered_s,
    percentile,
)
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, plan_of

NOW = datetime.now(UTC)
NAME = '<script>alert("x")</script> $\\frac{1}{$ & \x1b[2J日本.mp4'


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def add(library: Library, name: str, days_ago: float, duration_s: float | None, **seconds: float) -> str:
    """A video whose stages took so long, `days_ago`."""
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    at = NOW - timedelta(days=days_ago)
    stages = {
        stage: {"status": "ok", "ready": True, "stale": False, "spec": "s", "seconds": took, "at": at}
        for stage, took in seconds.items()
    }
    document: dict[str, Any] = {
        "_id": sha256, "added_at": at, "stages": stages, "ingest": {"names": [name], "size_bytes": 1000},
        **({"metadata": {"duration_s": duration_s}} if duration_s else {}),
    }  # fmt: skip
    library.collections["videos"].insert_one(document)
    return sha256


def run(library: Library, days_ago: float, hours: float, **scenes: float) -> None:
    began_at = NOW - timedelta(days=days_ago)
    ended_at = began_at + timedelta(hours=hours)
    library.collections["runs"].insert_one(
        {"began_at": began_at, "ended_at": ended_at, "steps": {"op": "success"}, "stages": {"scenes": scenes},
         "bytes_in": 500}
    )  # fmt: skip


def test_times_growth_and_the_slowest(library: Library) -> None:
    for number, took in enumerate([1.0, 2.0, 3.0, 4.0, 100.0]):
        add(library, f"v{number}", 2 * number + 1, 60.0, scenes=took, tags=0.5)
    unmeasured = add(library, "no length", 0.5, None, metadata=50.0)
    found = collect_statistics(library, plan_of(library), slowest=2)
    scenes = {stage.stage: stage for stage in found.stages}["scenes"]
    assert (scenes.videos, scenes.median_s, scenes.longest_s, scenes.total_s) == (5, 3.0, 100.0, 110.0)
    assert scenes.p95_s == pytest.approx(80.8)
    assert scenes.speed == pytest.approx(300 / 110)
    assert [(video.name, video.seconds, video.seconds_per_minute) for video in found.slowest] == [
        ("v4", 100.5, 100.5), ("no length", 50.0, None),
    ]  # fmt: skip
    assert found.slowest[1].sha256 == unmeasured
    assert (found.videos, found.footage_s, found.size_bytes) == (6, 300.0, 6000)
    assert sum(day.videos for day in found.days) == 6
    assert [day.day for day in found.days] == sorted(day.day for day in found.days)


def test_a_span_leaves_out_what_was_before(library: Library) -> None:
    add(library, "old", 30, 60.0, scenes=9.0)
    add(library, "new", 1, 60.0, scenes=1.0)
    run(library, 30, 1, computed=100)
    run(library, 1, 1, computed=1)
    found = collect_statistics(library, plan_of(library), NOW - timedelta(days=7))
    scenes = {stage.stage: stage for stage in found.stages}["scenes"]
    assert (scenes.videos, scenes.total_s, scenes.computed) == (1, 1.0, 1)
    assert found.videos == 2, "the library is as it is"
    assert [video.name for video in found.slowest] == ["new"]
    assert len(found.days) == 1


def test_hit_rates_failures_and_throughput_come_from_runs(library: Library) -> None:
    run(library, 1.5, 2, computed=30, current=60, failed=10, seconds=100.0)
    run(library, 1.5, 1, computed=10, seconds=5.0)
    found = collect_statistics(library, plan_of(library))
    scenes = {stage.stage: stage for stage in found.stages}["scenes"]
    assert (scenes.computed, scenes.current, scenes.failed) == (40, 60, 10)
    assert scenes.hit_rate == pytest.approx(60 / 110)
    assert scenes.failure_rate == pytest.approx(10 / 50)
    assert found.busy_s == pytest.approx(7200), "of two runs at the same time the hour counts once"
    assert found.results_per_hour == pytest.approx(20)
    assert (found.runs, found.bytes_in, found.stage_seconds) == ({"success": 2}, 1000, 105.0)
    assert (found.days[0].runs, found.days[0].hit_rate) == (2, pytest.approx(60 / 110))


def test_an_empty_library_has_statistics_too(library: Library) -> None:
    found = collect_statistics(library, plan_of(library))
    assert (found.videos, found.slowest, found.days, found.results_per_hour) == (0, [], [], None)
    assert all(stage.hit_rate is None and stage.median_s == 0 for stage in found.stages)
    assert plots.png(found).startswith(b"\x89PNG")
    assert b"Nothing was computed" in plots.svgs(found)["Time by stage"]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_or_between_two(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, part)
    assert ordered[0] <= found <= ordered[-1] or found == pytest.approx(ordered[0])
    assert percentile(ordered, 0.5) == pytest.approx(plain_statistics.median(ordered))
    assert (percentile(ordered, 0.0), percentile(ordered, 1.0)) == (ordered[0], ordered[-1])


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 50))))
def test_covered_time_is_counted_once(given_spans: list[tuple[int, int]]) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    spans = [(begin + timedelta(seconds=a), begin + timedelta(seconds=a + length)) for a, length in given_spans]
    assert covered_s(spans) == len({second for a, length in given_spans for second in range(a, a + length)})


def hostile() -> LibraryStatistics:
    return LibraryStatistics(
        NOW - timedelta(days=3), NOW, videos=1234, footage_s=7200.0, size_bytes=10**9,
        stages=[StageStatistics("scenes", 10, 1.0, 2.0, 3.0, 14.0, 25.0, 7, 2, 1, 1)],
        slowest=[SlowVideo("a" * 64, NAME, 300.0, 60.0, {"scenes": 300.0})],
        days=[DayStatistics((NOW - timedelta(days=2)).date(), 3, 7200.0, 10**9, 2, 7, 2, 1, 14.0, 500)],
        runs={"success": 2},
    )  # fmt: skip


def test_a_png_has_a_size_one_can_look_at(tmp_path: Any) -> None:
    (tmp_path / "p.png").write_bytes(plots.png(hostile()))
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size[0] > 1000
        colors = picture.convert("RGB").getcolors(1_000_000)
        assert colors is not None
        assert len(colors) > 20


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[bytes] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                kind, _, data = (value or "").partition(",")
                assert kind == "data:image/svg+xml;base64", "nothing is fetched from elsewhere"
                self.pictures.append(base64.b64decode(data))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_html_stands_alone_and_a_name_stays_a_text() -> None:
    text = plots.html(hostile()).decode()
    seen = _Seen()
    seen.feed(text)
    assert "script" not in seen.tags
    assert "default-src 'none'" in text
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    assert '<script>alert("x")</script> $\\frac{1}{$ & [2J日本.mp4' in seen.texts
    assert {"1,234", "2.0 h", "20 %"} <= set(seen.texts)
    assert len(seen.pictures) == 4
    drawn = [ElementTree.fromstring(picture) for picture in seen.pictures]  # noqa: S314 - our own
    assert not [part for picture in drawn for part in picture.iter() if part.tag.endswith("script")]
    assert any("</script> $\\frac" in "".join(picture.itertext()) for picture in drawn)


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(UnavailableError) as raised:
        plots.png(hostile())
    assert "vidpipe[plots]" in raised.value.hint
