"""How sharp the pictures of a video are: a plugin for vidpipe."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, ClassVar

from pydantic import Field

from vidpipe.media.frame_pack import FramePack
from vidpipe.settings.operation import Section
from vidpipe.stages.analyses.declaration import Analysis, Column, EvidenceText, RuleField
from vidpipe.stages.contract import Cancelled, Item, Part, Stage, StageContext, StageResult, per_video
from vidpipe.stages.search_fields import Moment, SearchField, stored
from vidpipe.tagging.fields import FieldSpec


class Sharpness(Section):
    """Sharpness of the packed frames."""

    blurred_below: float = Field(0.02, ge=0, le=1)
    """Scenes below this sharpness are blurred."""


class SceneSharpness(Part):
    """The sharpness of one scene: the median of its frames."""

    index: int
    start_s: float
    end_s: float
    sharpness: float
    blurred: bool


def _focus(result: Mapping[str, Any]) -> set[str]:
    return {"blurred" if scene["blurred"] else "sharp" for scene in result.get("scenes") or ()}


class SharpnessResult(StageResult):
    """How sharp a video is, 0 (no detail) to 1."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("sharpness", "number", stored("sharpness"), "Sharpness of the picture, 0 to 1."),
        SearchField("focus", "term", _focus, "sharp or blurred: a scene is.", weight=0, facet=True),
    )

    scenes: tuple[SceneSharpness, ...] = ()
    sharpness: float | None = Field(None, description="median of the scenes; None: there are no frames")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"sharpness": self.sharpness}


@per_video
def measure_sharpness(item: Item, context: StageContext) -> SharpnessResult:
    """Measure the packed frames of one video."""
    from vidpipe_sharpness.measure import sharpness  # imports OpenCV: only for runs that compute something

    scenes = item["scenes.scenes"]
    if item["scenes.pack"] is None:
        return SharpnessResult()
    pack = FramePack(context.settings.resolve(item["scenes.pack"].path))
    values: dict[int, list[float]] = {}
    for number, (frame, jpeg) in enumerate(pack, 1):
        if context.cancelled.is_set():
            raise Cancelled
        values.setdefault(frame.scene, []).append(sharpness(jpeg))
        context.progress(item.sha256, number / len(pack.frames))
    limit = context.settings.sharpness.blurred_below
    measured = tuple(
        SceneSharpness(
            index=index, start_s=scenes[index].start_s, end_s=scenes[index].end_s,
            sharpness=round(median(found), 4), blurred=median(found) < limit,
        )
        for index, found in sorted(values.items())
    )  # fmt: skip
    overall = round(median(scene.sharpness for scene in measured), 4) if measured else None
    return SharpnessResult(scenes=measured, sharpness=overall)


def _blurred_scenes(scenes: Any) -> Iterator[Moment]:
    for scene in scenes:
        if scene.blurred:
            yield Moment(scene.start_s, scene.end_s, "blurred picture", "en")


ANALYSIS = Analysis(
    stage=Stage(
        name="sharpness",
        job="prepare",
        description="How sharp the packed frames are.",
        result=SharpnessResult,
        function=measure_sharpness,
        reads=("scenes.pack", "scenes.scenes", "scenes.frames_version"),
        settings=("sharpness.blurred_below",),
        code_version="1",  # raise it whenever the code gives other results
        kinds=("opencv",),
        optional=True,
    ),
    settings=Sharpness,
    evidence=(EvidenceText("sharpness", "the measurements say", "sharpness.scenes", _blurred_scenes),),
    rule_fields=(RuleField(FieldSpec("sharpness", "number", "of the picture, 0 to 1"), "sharpness.sharpness"),),
    columns={"sharpness": Column("number", lambda result: result.get("sharpness"))},
)
