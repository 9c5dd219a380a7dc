"""What people and the describing model are shown: pictures of standard range, without combs, bounded in size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vidpipe.media.frame_pack import FramePack
from vidpipe.settings import Settings
from vidpipe.stages.results import Scenes
from vidpipe_tests import clips
from vidpipe_tests.stages.scene_items import scenes_of

_PICTURE = "testsrc2=s=320x180:r=25"


def pack_of(result: Scenes, home: Path) -> FramePack:
    assert result.pack is not None
    return FramePack(Settings(home=home).resolve(result.pack.path))


def model_frames(result: Scenes, home: Path) -> list[NDArray[np.int16]]:
    return [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.int16) for _, jpeg in pack_of(result, home)]


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_looks_like_its_original_of_standard_range(tmp_path: Path, home: Path, transfer: str) -> None:
    source = ("-f", "lavfi", "-t", "0.12", "-i", _PICTURE)
    plain = scenes_of(clips.ffmpeg(tmp_path / "plain.mkv", *source, "-c:v", "ffv1"), home)
    to_hdr = f"zscale=tin=bt709:min=bt709:pin=bt709:rin=limited:t={transfer}:p=bt2020:m=bt2020nc:r=limited:npl=150"
    try:
        clip = clips.ffmpeg(tmp_path / "hdr.mkv", *source, "-vf", f"{to_hdr},format=yuv420p10le", "-c:v", "ffv1")
    except RuntimeError:
        pytest.skip("this ffmpeg has no zscale to make HDR with")
    hdr = scenes_of(clip, home)
    for wide, standard in zip(model_frames(hdr, home), model_frames(plain, home), strict=True):
        assert np.abs(wide - standard).mean() < 15
    assert hdr.stats is not None
    assert plain.stats is not None
    assert hdr.stats.brightness == pytest.approx(plain.stats.brightness, abs=0.03)


def test_interlaced_frames_have_no_combs(tmp_path: Path, home: Path) -> None:
    # a picture that has its own size as a model's frame, so that nothing is scaled
    bars = "color=gray:s=280x280:r=50,geq=lum='128+100*sin((X+12*N)/12)':cb=128:cr=128,tinterlace=interleave_top"
    clip = clips.ffmpeg(tmp_path / "fields.mpg", "-f", "lavfi", "-t", "1", "-i", bars, "-c:v", "mpeg2video",
                        "-q:v", "2", "-flags", "+ildct+ilme", "-r", "25")  # fmt: skip
    result = scenes_of(clip, home)
    for frame in model_frames(result, home):
        assert np.abs(np.diff(frame, axis=0)).mean() < 4
    assert result.thumbnails[0].time_s == pytest.approx(0.5, abs=0.5)


def test_black_and_blurred_frames_are_not_shown(tmp_path: Path, home: Path) -> None:
    graph = f"{_PICTURE}:d=3,fade=in:5:20,fade=out:55:15,gblur=sigma=12:enable='between(t,1,1.9)'"
    result = scenes_of(clips.ffmpeg(tmp_path / "dim.mkv", "-f", "lavfi", "-i", graph, "-c:v", "ffv1"), home,
                       min_scene_length=5.0)  # fmt: skip
    times = [frame.time_s for frame in pack_of(result, home).frames]
    assert len(times) >= 4
    assert all(0.4 < time < 2.8 and not 1 <= time < 1.9 for time in times)
    assert not 1 <= result.thumbnails[0].time_s < 1.9


def test_bars_are_a_fact_and_the_picture_is_measured_inside(tmp_path: Path, home: Path) -> None:
    wide = "testsrc2=s=320x134:r=25:d=1"
    graph = (
        f"{wide},pad=320:180:0:22[a];color=black:s=320x180:r=25:d=1[b];smptebars=s=240x180:r=25:d=1,pad=320:180:40:0[c]"
    )
    encoder = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", "-pix_fmt", "yuv420p")
    clip = clips.ffmpeg(tmp_path / "bars.mp4", "-f", "lavfi", "-i", f"{graph};[a][b][c]concat=n=3", *encoder)
    result = scenes_of(clip, home)
    assert result.active_area is None
    letter, black, pillar = (scene.active_area for scene in result.scenes)
    assert letter
    assert pillar
    assert black is None
    assert tuple(letter.model_dump().values()) == pytest.approx((0, 22, 320, 134), abs=2)
    assert tuple(pillar.model_dump().values()) == pytest.approx((40, 0, 240, 180), abs=2)
    plain = scenes_of(clips.ffmpeg(tmp_path / "plain.mp4", "-f", "lavfi", "-i", wide, *encoder), home).scenes[0].stats
    inside = result.scenes[0].stats
    assert inside.brightness == pytest.approx(plain.brightness, abs=0.02)
    assert inside.contrast == pytest.approx(plain.contrast, abs=0.02)
    assert inside.saturation == pytest.approx(plain.saturation, abs=0.05)
    assert inside.motion == pytest.approx(plain.motion, rel=0.1)


@pytest.mark.parametrize("size", ["1:8", "2:2", "4096:4"])
def test_the_oddest_sizes_have_pictures(tmp_path: Path, home: Path, size: str) -> None:
    graph = f"testsrc2=s=64x64:r=10:d=0.4,scale={size},format=yuv444p"
    result = scenes_of(clips.ffmpeg(tmp_path / "odd.mkv", "-f", "lavfi", "-i", graph, "-c:v", "ffv1"), home)
    assert result.frames_decoded == 4
    with Image.open(home / str(result.poster)) as picture:
        assert 16 <= min(picture.size) <= max(picture.size) <= 1280
