"""OpenTimelineIO reads the timelines and, with its CMX 3600 adapter, the EDLs: clips, times, markers, media."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidpipe.datasets.exporters.timecode import timecode
from vidpipe.datasets.item import ItemSegment
from vidpipe_tests.datasets.conftest import CUTS, HOSTILE, TALK, ExportedLibrary, export_items
from vidpipe_tests.readers.conftest import frame_of, psnr_db, read_with, reader_environment

pytestmark = pytest.mark.soak

PACKAGES = ("opentimelineio==0.18.1", "otio-cmx3600-adapter==1.0.0")
READ = """
import json, sys
import opentimelineio as otio
found = {}
for path, rate in json.loads(sys.argv[1]):
    options = {"rate": rate} if path.endswith(".edl") else {}
    timeline = otio.adapters.read_from_file(path, **options)
    seconds = lambda span: [span.start_time.to_seconds(), span.end_time_exclusive().to_seconds()]
    found[path] = {
        "name": timeline.name,
        "tracks": [track.kind for track in timeline.tracks],
        "clips": [
            {"name": clip.name, "media": clip.media_reference.target_url, "times": seconds(clip.source_range),
             "at": seconds(clip.range_in_parent()), "rate": clip.source_range.start_time.rate,
             "markers": [marker.name for marker in clip.markers]}
            for clip in timeline.video_tracks()[0].find_clips()
        ],
        "markers": [[marker.name, *seconds(marker.marked_range)] for marker in timeline.tracks.markers],
    }
print(json.dumps(found))
"""
TIMECODES = """
import json, sys
from opentimelineio import opentime
pairs = json.loads(sys.argv[1])
print(json.dumps([opentime.from_timecode(shown, rate).value for shown, rate in pairs]))
"""


@pytest.fixture(scope="module")
def otio() -> Path:
    pytest.importorskip("opentimelineio")
    return reader_environment("opentimelineio", PACKAGES)


def test_timelines_and_edls_have_the_scenes_at_their_times(
    small_library: ExportedLibrary, otio: Path, tmp_path: Path
) -> None:
    segment = ItemSegment(start_s=0.0, end_s=0.6, label="red, wave", kind="label")
    assert segment in small_library.items[CUTS].segments
    items = [small_library.items[name] for name in (CUTS, TALK, HOSTILE)]
    files = []
    for file_format in ("otio", "edl"):
        export_items(small_library, file_format, tmp_path / file_format, items)
        rates = [30000 / 1001 if item.frame_rate == 29.97 else item.frame_rate for item in items]
        files += [
            (str(tmp_path / file_format / f"{one.key}.{file_format}"), rate)
            for one, rate in zip(items, rates, strict=True)
        ]
    found = read_with(otio, READ, json.dumps(files))
    for (path, rate), item in zip(files, [*items, *items], strict=True):
        read, is_otio = found[path], path.endswith("otio")
        assert [clip["rate"] for clip in read["clips"]] == [pytest.approx(rate, abs=1e-9)] * len(item.scenes)
        half_frame = pytest.approx(0, abs=0.5 / (rate or 1) + 1e-9)
        for clip, scene in zip(read["clips"], item.scenes, strict=True):
            for times in (clip["times"], clip["at"]):
                assert [times[0] - scene.start_s, times[1] - scene.end_s] == [half_frame, half_frame]
            media = Path(path).parent / clip["media"]
            assert media.read_bytes() == (small_library.settings.home / item.path).read_bytes()
        assert ("Audio" in read["tracks"]) == item.has_audio
        labels = [one.label for one in item.segments]
        if is_otio:
            assert sorted(name for name, *_ in read["markers"]) == sorted(labels)
        elif rate != 30000 / 1001:  # the adapter knows locators without drop frames only
            assert sorted(name for clip in read["clips"] for name in clip["markers"]) == sorted(labels)
    first = found[files[0][0]]["clips"][1]
    time_s = first["times"][0] + 0.1
    media = tmp_path / "otio" / first["media"]
    original = small_library.settings.home / items[0].path
    width, height = items[0].width, items[0].height
    one, other = (frame_of(path, time_s, width, height) for path in (media, original))
    assert psnr_db(one, other) == float("inf")
    assert one[..., 2].mean() > one[..., 0].mean(), "the second scene is blue"


def test_timecodes_are_those_of_opentimelineio(otio: Path) -> None:
    rates = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)
    frames = [0, 1, 1799, 1800, 1801, 17981, 17982, 35964, 107892, 2_589_407, 3_000_000, 6_500_001]
    wanted = [(frame, rate) for rate in rates for frame in frames]
    read = read_with(otio, TIMECODES, json.dumps([(timecode(frame / rate, rate), rate) for frame, rate in wanted]))
    assert read == [frame for frame, _ in wanted]
