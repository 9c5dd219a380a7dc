"""meaning: embeddings of what was said, read, seen and described, its language, and the category nearest in meaning."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from vidpipe.models.embeddings import directions
from vidpipe.models.frame_embedding import build_frame_model
from vidpipe.models.text_embedding import build_text_model
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.declaration import Analysis, RuleField, found_texts
from vidpipe.stages.analyses.packed_frames import READS, ask, examine
from vidpipe.stages.analyses.results import CategorySuggestion, EmbeddedPart, FrameLabel, MeaningResult, used_models
from vidpipe.stages.contract import Item, Stage, StageContext, StageResource, per_video
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.fields import FIELDS
from vidpipe.text.words import digest, normalize

#: Of a long text, as many evenly spaced lines are embedded.
_LONGEST_BYTES = 6_000
#: Texts in words of the model, not of the video; they say nothing about its language.
_OUR_WORDS = ("description", "objects")
#: Parts are scenes; short ones are joined, long ones divided. A video has at most about twice so many; each takes half
#: a kilobyte of memory when meanings are compared.
_MOST_PARTS = 60
_SHORTEST_S, _LONGEST_S = 2.0, 20.0
_SHOWN_CHARACTERS = 160
#: By measurement on a CPU; a GPU has room for them.
_FRAME_BATCH = 16
_MOST_FRAMES = 60
#: Fewer different words are not enough for a suggestion.
_FEWEST_WORDS = 6


class CategorySentences:
    """A sentence for each category: a resource."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.sentences = dict(sentences)
        self._embedded: dict[str, list[str]] = {}

    @property
    def version(self) -> str:
        """Identifies names and sentences."""
        return digest(*(part for pair in self.sentences.items() for part in pair))

    def texts(self) -> Mapping[str, str]:
        """Return the texts for the lineage by their hash: none."""
        return {}

    def nearest(
        self, vectors: Sequence[str], model: WorkerModel, context: StageContext
    ) -> Iterator[tuple[str, str, float]]:
        """Yield for each embedding which category is nearest, which second, and by how much (cosines)."""
        if not vectors or len(self.sentences) < 2:
            return
        if model.version not in self._embedded:
            request = {"texts": list(self.sentences.values()), "query": True}
            self._embedded[model.version] = ask(model, request, context)
        for cosines in (directions(vectors) @ directions(self._embedded[model.version]).T).tolist():
            (first, name), (second, other) = sorted(zip(cosines, self.sentences, strict=True), key=lambda one: -one[0])[
                :2
            ]
            yield name, other, first - second


class _Text(NamedTuple):
    name: str
    lines: Sequence[str]
    moments: Sequence[Moment] = ()


@per_video
def embed(item: Item, context: StageContext) -> MeaningResult:
    """Return the embeddings of a video's texts, parts and frames, and the category that is nearest."""
    from vidpipe.text.languages import detected_language

    model: WorkerModel = context.resources["text_model"]
    frame_model: WorkerModel = context.resources["frame_model"]
    texts = [text for text in _texts(item, context) if any(map(str.strip, text.lines))]
    whole = _joined((text.lines for text in texts), _LONGEST_BYTES)
    parts = list(_parts(texts, item["scenes.scenes"]))
    request = {"texts": [whole, *(text for _, _, text in parts)], "query": False}
    vector, *vectors = ask(model, request, context) if whole else [""]
    embedded = [
        EmbeddedPart(start_s=start_s, end_s=end_s, vector=of_part, text=_shown(text))
        for (start_s, end_s, text), of_part in zip(parts, vectors, strict=True)
        if of_part
    ]
    own = _joined((text.lines for text in texts if text.name not in _OUR_WORDS), _LONGEST_BYTES)
    frames = _frames(item, frame_model, context) if frame_model.installed else []
    return MeaningResult(
        vector=vector,
        parts=tuple(embedded),
        frame_vectors=tuple(frames),
        read_from=tuple(text.name for text in texts),
        language=detected_language(own),
        suggestion=_suggestion(whole, vector, model, context),
        labels=tuple(_labels([of_frame for _, of_frame in frames], frame_model, context)),
        models=used_models(model, frame_model),
    )


def _suggestion(text: str, vector: str, model: WorkerModel, context: StageContext) -> CategorySuggestion | None:
    sentences: CategorySentences = context.resources["category_sentences"]
    if not vector or len(set(normalize(text).split())) < _FEWEST_WORDS:
        return None
    for nearest, second, margin in sentences.nearest([vector], model, context):
        chosen = margin >= context.settings.meaning.category_margin
        return CategorySuggestion(category=nearest, runner_up=second, margin=round(margin, 3), chosen=chosen)
    return None


def _frames(item: Item, model: WorkerModel, context: StageContext) -> list[tuple[float, str]]:
    """Return time and embedding of a video's frames, of many as many as are kept."""
    found = [(frame.time_s, vector) for frame, vector in examine(item, context, model, batch=_FRAME_BATCH) if vector]
    return found[:: math.ceil(len(found) / _MOST_FRAMES) or 1]


def _labels(vectors: Sequence[str], model: WorkerModel, context: StageContext) -> Iterator[FrameLabel]:
    sentences: CategorySentences = context.resources["category_sentences"]
    margins: dict[str, list[float]] = {}
    for nearest, _, margin in sentences.nearest(vectors, model, context):
        margins.setdefault(nearest, []).append(margin)
    for label, found in sorted(margins.items(), key=lambda one: (-len(one[1]), one[0])):
        yield FrameLabel(label=label, share=round(len(found) / len(vectors), 3), margin=round(fmean(found), 3))


def _texts(item: Item, context: StageContext) -> Iterator[_Text]:
    """Yield what is known of a video in words. Sentences about measurements say nothing about its subject."""
    yield _Text("title", [*item["ingest.titles"], item["metadata.title"] or ""])
    if item["descriptions.measured"] is False:
        scenes = item["scenes.scenes"]
        described = [
            Moment(scenes[scene.index].start_s, scenes[scene.index].end_s, scene.description)
            for scene in item["descriptions.scenes"] or ()
            if scene.index < len(scenes)
        ]
        yield _Text("description", [item["descriptions.text"] or ""], described)
    cues = [Moment(cue.start_s, cue.end_s, cue.text) for cue in item["metadata.cues"]]
    yield _Text("subtitles", [cue.text for cue in cues], cues)
    for found in found_texts(context.resources, item.fields):
        yield _Text(found.name, [moment.text for moment in found.moments], found.moments)


def _parts(texts: Iterable[_Text], scenes: Sequence[Any]) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and text of the parts of a video in which anything is said, read, seen or described."""
    end_s = scenes[-1].end_s if scenes else 0.0
    borders = [0.0]
    for scene in scenes:
        if scene.start_s - borders[-1] >= max(_SHORTEST_S, end_s / _MOST_PARTS):
            borders.append(scene.start_s)
    starts: list[float] = []
    for start, end in pairwise([*borders, max(end_s, borders[-1] + _SHORTEST_S)]):
        count = math.ceil((end - start) / max(_LONGEST_S, end_s / _MOST_PARTS))
        starts += [start + number * (end - start) / count for number in range(count)]
    found: dict[int, list[Moment]] = {}
    for moment in (moment for text in texts for moment in text.moments if moment.text.strip()):
        found.setdefault(bisect_right(starts, max(0.0, moment.start_s)), []).append(moment)
    for _, moments in sorted(found.items()):
        first = min(moment.start_s for moment in moments)
        text = _joined([[moment.text for moment in moments]], _LONGEST_BYTES // 4)
        yield first, max(first, *(moment.end_s for moment in moments)), text


def _joined(texts: Iterable[Sequence[str]], most_bytes: int) -> str:
    """Return the different lines of texts, of each text as many, evenly spaced, as fit into its share of the bytes."""
    different = [list(dict.fromkeys(filter(None, (" ".join(line.split()) for line in lines)))) for lines in texts]
    different = [lines for lines in different if lines]
    joined: list[str] = []
    for lines in different:
        share = most_bytes // len(different)
        size = sum(len(line.encode(errors="replace")) + 1 for line in lines)
        kept = max(1, len(lines) * share // max(size, share))
        even = (lines[number * len(lines) // kept] for number in range(kept))
        joined.append("\n".join(even).encode(errors="replace")[:share].decode(errors="ignore").strip())
    return "\n".join(dict.fromkeys(filter(None, joined)))


def _shown(text: str) -> str:
    shown = text.replace("\n", " · ")
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"


def _build_sentences(settings: Settings) -> StageResource:
    from vidpipe.tagging.category_files import category_sentences

    return CategorySentences(category_sentences(settings))


ANALYSIS = Analysis(
    stage=Stage(
        name="meaning",
        job="label",
        description="What the video is about: embeddings of its texts, their language, and the nearest category.",
        result=MeaningResult,
        function=embed,
        reads=(*READS, "ingest.titles", "metadata.cues", "metadata.title"),
        optional_reads=("descriptions.measured", "descriptions.scenes", "descriptions.text"),
        settings=("meaning.category_margin",),
        resources=("category_sentences", "frame_model", "text_model"),
        batch_size=16,
        kinds=("embedding",),
        optional=True,
    ),
    resources={
        "category_sentences": _build_sentences, "frame_model": build_frame_model, "text_model": build_text_model,
    },
    rule_fields=(RuleField(FIELDS["language"], "meaning.language"),),
)  # fmt: skip
