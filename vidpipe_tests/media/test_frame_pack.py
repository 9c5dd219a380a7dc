"""A frame pack appears whole or not at all, never changes, and is read back frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack, FramePackWriter, frames_version, pack_exists
from vidpipe.settings import Settings

SHA = "ab" * 32


@pytest.fixture
def plain_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def write(settings: Settings, jpegs: list[bytes], scene: int = 0) -> PackReference:
    with FramePackWriter(settings, SHA) as writer:
        for number, jpeg in enumerate(jpegs):
            writer.add_frame(time_s=float(number), scene=scene + number // 2, size=(56, 28), jpeg=jpeg)
        writer.add_thumbnail(0.0, scene, (32, 18), jpegs[0])
        return writer.publish()


def test_frames_come_back_as_they_were_written(plain_settings: Settings) -> None:
    reference = write(plain_settings, [b"one", b"two!", b"three"])
    pack = FramePack(plain_settings.resolve(reference.path))
    assert [(frame.time_s, frame.scene, jpeg) for frame, jpeg in pack] == [
        (0.0, 0, b"one"), (1.0, 0, b"two!"), (2.0, 1, b"three"),
    ]  # fmt: skip
    assert [jpeg for _, jpeg in pack.of_scene(1)] == [b"three"]
    assert dict(pack)[pack.frames[1]] == b"two!"
    assert (len(pack.frames), reference.frames, reference.bytes) == (3, 3, 12)
    assert not Path(reference.path).is_absolute()
    assert (plain_settings.resolve(reference.path) / "thumb_00000.jpg").read_bytes() == b"one"


def test_the_version_names_times_and_sizes_not_bytes(plain_settings: Settings, tmp_path: Path) -> None:
    first = write(plain_settings, [b"one", b"two"])
    again = write(plain_settings, [b"other", b"bytes of another ffmpeg"])
    assert again.version == first.version
    # what was there stays, whole
    assert [jpeg for _, jpeg in FramePack(plain_settings.resolve(again.path))] == [b"one", b"two"]
    assert write(plain_settings, [b"one", b"two"], scene=1).version != first.version
    folders = sorted(path.name for path in (plain_settings.derived_directory / SHA).iterdir())
    assert len(folders) == 2
    assert not any(name.startswith(".") for name in folders)


def test_converted_pictures_are_others_to_a_model() -> None:
    assert frames_version([]) != frames_version([], converted=True)


def test_nothing_is_left_of_a_pack_that_was_not_finished(plain_settings: Settings) -> None:
    with FramePackWriter(plain_settings, SHA) as writer:
        writer.add_frame(time_s=0, scene=0, size=(28, 28), jpeg=b"x")
        assert writer.folder.is_dir()
    assert list((plain_settings.derived_directory / SHA).iterdir()) == []


def test_a_damaged_pack_is_told_and_mended_by_the_next_run(plain_settings: Settings) -> None:
    reference = write(plain_settings, [b"one", b"two"])
    folder = plain_settings.resolve(reference.path)
    (folder / "frames.pack").write_bytes(b"on")
    with pytest.raises(MediaError, match="truncated"):
        FramePack(plain_settings.resolve(reference.path))
    write(plain_settings, [b"one", b"two"])
    assert [jpeg for _, jpeg in FramePack(plain_settings.resolve(reference.path))] == [b"one", b"two"]
    assert pack_exists(plain_settings, reference)
    (folder / "manifest.json").unlink()
    assert not pack_exists(plain_settings, reference)
    with pytest.raises(MediaError, match="Run the scenes stage again"):
        FramePack(plain_settings.resolve(reference.path))
