"""The default tags on whole clips: what the picture does not show is not claimed."""

from pathlib import Path

import pytest

from vidpipe.stages.results import Tags
from vidpipe.stages.tags import give_tags
from vidpipe_tests import clips
from vidpipe_tests.stages.label_items import STATS, label_context, label_item
from vidpipe_tests.stages.scene_items import scenes_of

_OF = ":s=160x90:r=10:d=2.2"
_SLIDE = f"color=white{_OF},drawbox=15:15:60:30:black:fill"


@pytest.mark.parametrize(
    ("graph", "shown"),
    [
        pytest.param(f"color=blue{_OF}", {"Static"}, id="blue card"),
        pytest.param(f"testsrc2={_OF[1:]},lutrgb=r=val/8:g=val/8:b=val/8", {"Dark"}, id="nearly black"),
        pytest.param(f"{_SLIDE},drawbox=100:45:30:20:brown:fill:enable=gt(t\\,1.6)", {"Bright"}, id="slide with photo"),
        pytest.param(f"color=gray{_OF}[a];color=white{_OF}[b];[b]scale=160:4[c];[a][c]overlay=y=10*t",
                     {"Black and White"}, id="moving strip"),
    ],
)  # fmt: skip
def test_a_picture_gets_the_tags_that_are_true_of_it(home: Path, tmp_path: Path, graph: str, shown: set[str]) -> None:
    clip = clips.ffmpeg(tmp_path / "clip.mp4", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-preset", "ultrafast",
                        "-pix_fmt", "yuv420p")  # fmt: skip
    found = scenes_of(clip, home)
    item = label_item(clip, scenes__stats=found.stats, scenes__count=found.count)
    (outcome,) = give_tags([item], label_context(home, "custom_tags"))
    assert isinstance(outcome.result, Tags)
    assert {tag.tag for tag in outcome.result.tags if not tag.facet} == shown | {"Silent"}


@pytest.mark.parametrize(("loudness_db", "silence_share", "silent"), [(-91.0, 1.0, True), (-64.7, 1.0, False),
                                                                     (-75.0, 0.99, False)])  # fmt: skip
def test_quiet_is_not_silent(
    home: Path, tmp_path: Path, loudness_db: float, silence_share: float, silent: bool
) -> None:
    clip = clips.moving(tmp_path / "quiet.mp4", audio="noise", seconds=0.2)
    stats = STATS.model_copy(update={"loudness_db": loudness_db, "silence_share": silence_share})
    (outcome,) = give_tags([label_item(clip, scenes__stats=stats)], label_context(home, "custom_tags"))
    assert isinstance(outcome.result, Tags)
    assert ("Silent" in {tag.tag for tag in outcome.result.tags}) is silent
