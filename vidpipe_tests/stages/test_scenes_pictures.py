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


def as_hdr(path: Path, transfer: str, picture: NDArray[np.uint8]) -> Path:
    """Write a clip of a picture (height, width, RGB), whose white is 150 cd/m² bright.

    From the definitions in BT.2100, in double precision: zscale's figures differ between processors by more than the
    tone mapping that is tested here.
    """
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    nits = 150 * (picture / 255) ** 2.4 @ to_bt2020.T
    luma = np.array([0.2627, 0.6780, 0.0593])
    if transfer == "smpte2084":
        power = (nits / 10_000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        luminance = np.maximum(nits @ luma / 1000, 1e-9)[..., None]
        scene = nits / 1000 * luminance ** (1 / 1.2 - 1)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    y = signal @ luma
    blue, red = (signal[..., 2] - y) / 1.8814, (signal[..., 0] - y) / 1.4746
    planes = np.stack([64 + 876 * y, 512 + 896 * blue, 512 + 896 * red]).round().clip(0, 1023).astype("<u2")
    path.with_suffix(".raw").write_bytes(planes.tobytes())
    height, width = picture.shape[:2]
    return clips.ffmpeg(
        path, "-f", "rawvideo", "-s", f"{width}x{height}", "-r", "25", "-pix_fmt", "yuv444p10le",
        "-i", str(path.with_suffix(".raw")), "-c:v", "ffv1", "-color_trc", transfer, "-color_primaries", "bt2020",
        "-colorspace", "bt2020nc", "-color_range", "tv",
    )  # fmt: skip


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_looks_like_its_original_of_standard_range(tmp_path: Path, home: Path, transfer: str) -> None:
    source = ("-f", "lavfi", "-i", _PICTURE, "-frames:v", "1")
    plain = scenes_of(clips.ffmpeg(tmp_path / "plain.mkv", *source, "-c:v", "ffv1"), home)
    picture = np.asarray(Image.open(clips.ffmpeg(tmp_path / "plain.png", *source)).convert("RGB"))
    hdr = scenes_of(as_hdr(tmp_path / "hdr.mkv", transfer, picture), home)
    for wide, standard in zip(model_frames(hdr, home), model_frames(plain, home), strict=True):
        assert np.abs(wide - standard).mean() < 12
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
