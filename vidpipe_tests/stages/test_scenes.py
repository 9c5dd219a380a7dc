"""The scenes stage on made clips: cuts at their times, all pictures there, every kind of file, nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe.settings.schema import SceneDetection
from vidpipe.stages import scenes
from vidpipe.stages.contract import Cancelled, StageContext, StageError
from vidpipe.stages.results import Scenes
from vidpipe.stages.scene_analysis import analyze_scenes
from vidpipe_tests import clips
from vidpipe_tests.stages.scene_items import outcome_of, scene_item, scenes_of, starts


def open_files(home: Path) -> set[str]:
    """Open descriptors of pipes and of files in `home`; connections of other tests' servers come and go."""
    found = set()
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{number}")
            if target.startswith(("pipe:", str(home))):
                found.add(f"{number} {target}")
    return found


def ffmpeg_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "ffmpeg" in child.name()]


@pytest.fixture(autouse=True)
def _no_process_and_no_partial_folder_is_left(home: Path) -> object:
    before = open_files(home)
    yield
    assert ffmpeg_children() == []
    assert not list(home.rglob(".partial-*"))
    gc.collect()  # files of other tests that only their end closes must not be counted before and closed after
    assert open_files(home) <= before


def check_pictures(result: Scenes, settings: Settings, size: tuple[int, int]) -> None:
    """Every scene has a thumbnail of `size` and a model frame of its own time; all are whole JPEGs."""
    assert result.pack is not None
    pack = FramePack(settings.resolve(result.pack.path))
    assert {frame.scene for frame in pack.frames} == {scene.index for scene in result.scenes}
    for frame, jpeg in pack:
        scene = result.scenes[frame.scene]
        assert scene.start_s <= frame.time_s < scene.end_s
        picture = Image.open(io.BytesIO(jpeg))
        picture.load()
        assert picture.size == (frame.width, frame.height)
        assert frame.width % 28 == frame.height % 28 == 0
    for scene in result.scenes:
        assert scene.thumbnail is not None
        with Image.open(settings.resolve(scene.thumbnail)) as picture:
            assert picture.size == size
    assert result.poster in {thumbnail.path for thumbnail in result.thumbnails}


def test_scenes_cover_the_video_and_each_knows_its_colours(tmp_path: Path, home: Path) -> None:
    clip = clips.color_cuts(tmp_path / "rgb.mp4", ("red", "green", "blue"), audio="sine")
    result = scenes_of(clip, home, detector="content")
    assert [(scene.start_s, scene.end_s) for scene in result.scenes] == [(0, 1), (1, 2), (2, 3)]
    assert [(scene.start_frame, scene.end_frame) for scene in result.scenes] == [(0, 25), (25, 50), (50, 75)]
    assert [scene.stats.colors[0].name for scene in result.scenes] == ["red", "green", "blue"]
    assert all(scene.stats.motion < 0.01 for scene in result.scenes)
    assert result.stats is not None
    assert result.stats.loudness_db is not None
    assert result.stats.silence_share is not None
    assert result.stats.silence_share < 0.1
    assert (result.count, result.frames_decoded, result.duration_s, result.damage) == (3, 75, 3, None)
    assert result.cuts_per_minute == 40
    check_pictures(result, Settings(home=home), (320, 180))


def test_the_second_run_gives_the_same_result_and_the_same_pack(tmp_path: Path, home: Path) -> None:
    clip = clips.color_cuts(tmp_path / "rgb.mp4", audio="beeps")
    first, second = (scenes_of(clip, home).model_dump(exclude={"decode_seconds"}) for _ in range(2))
    assert first == second


def test_times_of_variable_rate_video_are_presentation_times(tmp_path: Path, home: Path) -> None:
    clip = clips.variable_rate(tmp_path / "vfr.mp4")
    result = scenes_of(clip, home, detector="content")
    assert starts(result) == [30]
    assert result.scenes[1].start_s == pytest.approx(1.0, abs=0.002)
    assert result.duration_s == pytest.approx(3.0, abs=0.11)
    assert result.frames_decoded == 49  # the edit list hides the last one


def test_times_count_from_the_first_video_frame(tmp_path: Path, home: Path) -> None:
    """The picture begins 2 s after the sound, which is loud only in its first and last second."""
    tone = "aevalsrc='0.5*sin(880*PI*t)*(lt(t,1)+gt(t,4))':s=44100:d=5"
    cut = "color=red:s=320x180:r=25:d=1.6[a];color=blue:s=320x180:r=25:d=1.6[b];[a][b]concat"
    clip = clips.ffmpeg(tmp_path / "late.mkv", "-itsoffset", "2", "-f", "lavfi", "-i", cut, "-f", "lavfi", "-i", tone,
                        "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le")  # fmt: skip
    result = scenes_of(clip, home, detector="content")
    assert [scene.start_s for scene in result.scenes] == pytest.approx([0, 1.6], abs=0.002)
    assert result.duration_s == pytest.approx(3.2, abs=0.05)
    # the second scene is on from 3.6 s to the end of the sound at 5 s
    assert [scene.stats.silence_share for scene in result.scenes] == pytest.approx([1.0, 0.4 / 1.4], abs=0.08)


def test_a_fade_is_cut_in_the_middle_of_the_black(tmp_path: Path, home: Path) -> None:
    graph = "testsrc2=s=320x180:r=25:d=3,split[a][b];[a]fade=out:50:25[x];[b]fade=in:0:25[y];[x][y]concat"
    clip = clips.ffmpeg(tmp_path / "fade.mp4", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-preset", "ultrafast")
    result = scenes_of(clip, home, detector="threshold")
    assert starts(result) == pytest.approx([75], abs=1)
    check_pictures(result, Settings(home=home), (320, 180))


def test_a_short_last_scene_has_its_own_pictures(tmp_path: Path, home: Path) -> None:
    graph = "color=red:s=320x180:r=25:d=2[a];color=blue:s=320x180:r=25:d=0.08[b];[a][b]concat"
    clip = clips.ffmpeg(tmp_path / "end.mp4", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-preset", "ultrafast")
    result = scenes_of(clip, home, detector="content", min_scene_length=0)
    assert starts(result) == [50]
    check_pictures(result, Settings(home=home), (320, 180))
    with Image.open(home / str(result.scenes[1].thumbnail)) as picture:
        red, _, blue = picture.getpixel((160, 90))  # type: ignore[misc]
    assert blue > 150 > red


@pytest.mark.parametrize(("detector", "thumbnails"), [("adaptive", "interval"), ("content", "scenes")])
def test_a_last_scene_shorter_than_the_minimum_belongs_to_the_one_before(
    tmp_path: Path, home: Path, detector: str, thumbnails: str
) -> None:
    graph = "testsrc2=s=320x180:r=25:d=1.4[a];color=blue:s=320x180:r=25:d=0.2[b];[a][b]concat"
    clip = clips.ffmpeg(tmp_path / "tail.mp4", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-preset", "ultrafast")
    merged = scenes_of(clip, home, detector=detector, thumbnails=thumbnails, thumbnail_interval=0.3)
    assert (merged.count, merged.cuts_per_minute, merged.scenes[0].end_frame) == (1, 0, 40)
    assert {thumbnail.scene for thumbnail in merged.thumbnails} == {0}
    assert merged.stats == merged.scenes[0].stats
    check_pictures(merged, Settings(home=home), (320, 180))


def test_frames_and_thumbnails_keep_to_their_budgets(tmp_path: Path, home: Path) -> None:
    clip = clips.color_cuts(tmp_path / "many.mp4", ("red", "blue") * 6, seconds_each=1.0)
    result = scenes_of(clip, home, detector="content", frames_per_scene=2, frames_per_video=6, max_thumbnails=4)
    assert result.count == 12
    assert result.pack is not None
    assert (result.pack.frames, len(result.thumbnails)) == (6, 4)
    at_interval = scenes_of(clip, home, thumbnails="interval", thumbnail_interval=2.5)
    assert [thumbnail.time_s for thumbnail in at_interval.thumbnails] == pytest.approx([0, 2.5, 5, 7.5, 10], abs=0.5)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_and_thumbnails_stand_upright(tmp_path: Path, home: Path, degrees: int) -> None:
    result = scenes_of(clips.rotated(tmp_path / "turned.mp4", degrees), home)
    size = (320, 180) if degrees == 180 else (180, 320)
    check_pictures(result, Settings(home=home), size)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("odd.mkv", ("-vf", "scale=161:91", "-c:v", "ffv1")),
        ("narrow.mkv", ("-vf", "scale=16:400", "-c:v", "ffv1")),
        ("wide-pixels.mkv", ("-vf", "scale=180:144,setsar=16/11", "-c:v", "mpeg4")),
        ("ten-bit.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le")),
        ("alpha.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime")),
        ("deep.mkv", ("-c:v", "ffv1", "-pix_fmt", "gbrp16le")),
        ("gray.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray")),
        ("palette.gif", ()),
        ("interlaced.mpg", ("-vf", "scale=720:576,interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme")),
        ("intra.mov", ("-c:v", "mjpeg")),
        ("full-range.mp4", ("-c:v", "libx264", "-pix_fmt", "yuvj420p")),
    ],
)
def test_every_kind_of_picture(tmp_path: Path, home: Path, name: str, arguments: tuple[str, ...]) -> None:
    clip = clips.ffmpeg(tmp_path / name, "-f", "lavfi", "-t", "1", "-i", "testsrc2=s=320x180:r=25", *arguments)
    item = scene_item(clip)
    outcome = outcome_of(item, home)
    assert isinstance(outcome.result, Scenes), outcome.error
    width, height = item["metadata.width"], item["metadata.height"]
    wide = min(320, width)
    check_pictures(outcome.result, Settings(home=home), (wide, round(height * wide / width)))
    assert outcome.result.damage is None


def test_one_frame_is_one_scene(tmp_path: Path, home: Path) -> None:
    clip = clips.ffmpeg(tmp_path / "one.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-frames:v", "1")
    result = scenes_of(clip, home)
    assert (result.count, result.frames_decoded) == (1, 1)
    assert result.duration_s == pytest.approx(0.04)
    check_pictures(result, Settings(home=home), (320, 180))


def test_damage_is_told_and_what_decodes_is_processed(tmp_path: Path, home: Path) -> None:
    source = clips.moving(tmp_path / "whole.mkv", seconds=4)
    result = scenes_of(clips.damaged(tmp_path / "hurt.mkv", source), home)
    assert result.frames_decoded > 40
    assert result.damage is not None
    assert result.damage.errors > 0
    assert result.damage.messages
    assert "decoder reported" in result.damage.sentence


def test_a_video_all_of_whose_pictures_decode_is_not_damaged_whatever_their_times(tmp_path: Path, home: Path) -> None:
    path = clips.moving(tmp_path / "a.mp4")
    outcome = outcome_of(scene_item(path, duration_s=8.2), home)
    assert isinstance(outcome.result, Scenes)
    assert outcome.result.damage is None


def test_a_video_that_is_cut_off_is_truncated(tmp_path: Path, home: Path) -> None:
    source = clips.moving(tmp_path / "whole.mkv", seconds=6).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(source[: len(source) // 2])
    result = scenes_of(cut, home)
    assert result.damage is not None
    assert (result.damage.truncated, result.damage.expected_s) == (True, 6.0)
    assert "of the 6.00 s that its header announces" in result.damage.sentence
    assert result.duration_s < 4


def test_a_stream_without_a_decodable_frame_is_an_error(tmp_path: Path, home: Path) -> None:
    clip = clips.moving(tmp_path / "clip.mp4", seconds=1)
    item = scene_item(clip)
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(len(data[start : data.index(b"moov") - 4]))
    clip.write_bytes(bytes(data))
    outcome = outcome_of(item, home)
    assert outcome.error is not None
    assert "decoded no frame" in outcome.error.message
    assert outcome.error.hint
    assert outcome.sha256 == item.sha256


def test_one_frame_of_many_is_an_error_not_a_scene(tmp_path: Path, home: Path) -> None:
    clip = clips.ffmpeg(tmp_path / "one.mp4", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-frames:v", "1")
    outcome = outcome_of(scene_item(clip, frame_count=125, duration_s=5.0), home)
    assert outcome.error is not None
    assert "only one of 125 frames" in outcome.error.message


def test_a_missing_file_fails_alone(tmp_path: Path, home: Path) -> None:
    good = scene_item(clips.moving(tmp_path / "good.mp4", seconds=1))
    gone = scene_item(clips.moving(tmp_path / "gone.mp4", seconds=1.2))
    (tmp_path / "gone.mp4").unlink()
    outcomes = list(scenes.STAGE.function([gone, good], StageContext(settings=Settings(home=home))))
    assert [outcome.error is None for outcome in outcomes] == [False, True]
    assert "does not exist" in str(outcomes[0].error)


@pytest.fixture(scope="module")
def slow_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes a few seconds to decode."""
    return clips.moving(tmp_path_factory.mktemp("slow") / "slow.mp4", seconds=30, size="1280x720")


def test_cancelling_ends_ffmpeg_at_once(slow_clip: Path, home: Path) -> None:
    context = StageContext(settings=Settings(home=home))
    seen: list[float] = []

    def progress(_: str, fraction: float) -> None:
        seen.append(fraction)
        context.cancelled.set()

    context.progress = progress
    with pytest.raises(Cancelled):
        outcome_of(scene_item(slow_clip), home, context)
    assert seen
    assert seen[0] < 0.5


def test_ffmpeg_ended_from_outside_is_an_error(slow_clip: Path, home: Path) -> None:
    item = scene_item(slow_clip)

    def kill() -> None:
        while not (found := ffmpeg_children()):
            time.sleep(0.01)
        found[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = outcome_of(item, home)
    killer.join()
    assert outcome.error is not None
    assert "signal 9" in outcome.error.message


def test_decoding_has_a_time_limit(slow_clip: Path, home: Path) -> None:
    settings = Settings(home=home, scene_detection=SceneDetection(timeout_factor=0.001))
    item = scene_item(slow_clip)
    with pytest.raises(StageError) as raised:
        analyze_scenes(item, StageContext(settings=settings), min_time_limit_s=0.2)
    assert raised.value.transient
    assert "TimeoutFactor" in raised.value.hint


def test_an_error_while_frames_are_read_ends_ffmpeg(slow_clip: Path, home: Path) -> None:
    def broken(sha256: str, fraction: float) -> None:
        raise ZeroDivisionError

    context = StageContext(settings=Settings(home=home), progress=broken)
    with pytest.raises(ZeroDivisionError):
        outcome_of(scene_item(slow_clip), home, context)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_video(tmp_path: Path, home: Path) -> None:
    home.joinpath("data").mkdir()
    home.joinpath("data/derived").write_text("a file where the folder should be")
    outcome = outcome_of(scene_item(clips.moving(tmp_path / "clip.mp4", seconds=1)), home)
    assert outcome.error is not None
    assert outcome.error.transient
    assert "ProcessedDirectory" in outcome.error.hint


def test_a_missing_pack_makes_the_stage_due(tmp_path: Path, home: Path) -> None:
    settings = Settings(home=home, scene_detection=SceneDetection())
    result = scenes_of(clips.moving(tmp_path / "clip.mp4", seconds=1), home)
    assert scenes.STAGE.artifacts_exist is not None
    assert scenes.STAGE.artifacts_exist(result, settings)
    assert result.pack is not None
    (settings.resolve(result.pack.path) / "frames.pack").unlink()
    assert not scenes.STAGE.artifacts_exist(result, settings)
