"""screen_text: what is written on screen, read in the packed frames."""

import math
from collections.abc import Callable, Iterator, Sequence

from vidpipe.media.facts import Scene
from vidpipe.models.installed import chosen_models
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import Analysis, EvidenceText, RuleField
from vidpipe.stages.analyses.packed_frames import READS, examine
from vidpipe.stages.analyses.results import ScreenTextResult, TextEntry, used_models
from vidpipe.stages.analyses.screen_entries import entries, languages
from vidpipe.stages.analyses.screen_lines import blocks
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.fields import FIELDS

_RESOURCE = "screen_text_model"
#: Frames per request. Frames that equal their predecessor in a request are not read again.
BATCH = 8
#: Longer side to which frames of `_PIXELS` pixels (the default) are reduced to find text; that of the largest frames.
SIDE, _PIXELS, _LONGEST_SIDE = 512, 360 * 420, 960


def build_model(settings: Settings) -> WorkerModel:
    """Return the text recognizer of [ScreenText] Model.

    Raises:
        UnavailableError: The model or the package rapidocr is not installed.
    """
    models = chosen_models(settings, settings.screen_text.model)
    side = round(SIDE * math.sqrt(max(1.0, settings.scene_detection.frame_max_pixels / _PIXELS)))
    return WorkerModel(
        models,
        "vidpipe.models.screen_text:load",
        {"side": min(side, _LONGEST_SIDE)},
        threads=settings.analyses.threads,
        packages=("rapidocr",),
    )


@per_video
def read_screen(item: Item, context: StageContext) -> ScreenTextResult:
    """Read the packed frames of one video."""
    model: WorkerModel = context.resources[_RESOURCE]
    least = context.settings.screen_text.min_confidence
    scenes: Sequence[Scene] = item["scenes.scenes"]
    found = entries(
        [
            (frame.time_s, scenes[frame.scene].end_s, blocks(texts, frame.width / frame.height, least))
            for frame, texts in examine(item, context, model, batch=BATCH)
        ]
    )
    models = used_models(model)
    return ScreenTextResult(models=models, entries=found, languages=languages(found))


def _moments(found: Sequence[TextEntry]) -> Iterator[Moment]:
    """Return titles and captions. Small print (logos, watermarks, signs) is found by search, but is no evidence."""
    return (Moment(one.start_s, one.end_s, one.text, one.language) for one in found if one.kind != "small")


def _has(kind: str) -> Callable[[Sequence[TextEntry]], bool]:
    return lambda found: any(entry.kind == kind for entry in found)


ANALYSIS = Analysis(
    stage=Stage(
        name="screen_text",
        job="prepare",
        description="Captions, titles and other text that is read in the packed frames.",
        result=ScreenTextResult,
        function=read_screen,
        reads=READS,
        settings=("screen_text.min_confidence",),
        resources=(_RESOURCE,),
        pool="cpu",
        kinds=("onnxruntime",),
        optional=True,
    ),
    resources={_RESOURCE: build_model},
    evidence=(EvidenceText("screen_text", "the screen shows", "screen_text.entries", _moments),),
    rule_fields=(
        RuleField(FIELDS["screen_language"], "screen_text.languages"),
        *(RuleField(FIELDS[f"has_{kind}"], "screen_text.entries", _has(kind)) for kind in ("caption", "title")),
    ),
    columns={
        "screen_text": lambda result: "\n".join(entry["text"] for entry in result["entries"]),
        "screen_languages": lambda result: ", ".join(result["languages"]),
    },
)
