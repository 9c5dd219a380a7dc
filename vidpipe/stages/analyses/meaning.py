"""meaning: embeddings of what was said, read, seen and described, its language, and the category nearest in meaning."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from vidpipe.stages.analyses.declaration import Analysis, found_texts
from vidpipe.stages.analyses.packed_frames import READS, ask
from vidpipe.stages.analyses.results import CategorySuggestion, EmbeddedPart, Meaning, ModelUse
from vidpipe.stages.contract import Item, Stage, StageContext, StageResource, per_video
from vidpipe.stages.search_fields import Moment

if TYPE_CHECKING:
    from vidpipe.models.worker import WorkerModel
    from vidpipe.settings import Settings

#: Of a long text, as many evenly spaced lines are embedded.
_LONGEST_BYTES = 6_000
#: Texts in words of the model, not of the video; they say nothing about its language.
_OUR_WORDS = ("description", "objects")
#: Parts are scenes; short ones are joined, long ones divided. A video has at most about twice so many.
_MOST_PARTS = 150
_SHORTEST_S, _LONGEST_S = 2.0, 20.0
#: Fewer different words are not enough for a suggestion.
_FEWEST_WORDS = 4


class CategorySentences:
    """A sentence for each category: a resource."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.sentences = dict(sentences)
        self._embedded: dict[str, list[str]] = {}

    @property
    def version(self) -> str:
        """Identifies names and sentences."""
        from vidpipe.text.words import digest

        return digest(*(part for pair in self.sentences.items() for part in pair))

    def texts(self) -> Mapping[str, str]:
        """Return the texts for the lineage by their hash: none."""
        return {}

    def embedded(self, model: WorkerModel, context: StageContext) -> list[str]:
        """Return the embedding of each sentence."""
        if model.version not in self._embedded:
            request = {"texts": list(self.sentences.values()), "query": True}
            self._embedded[model.version] = ask(model, request, context)
        return self._embedded[model.version]


class _Text(NamedTuple):
    name: str
    lines: Sequence[str]
    moments: Sequence[Moment] = ()


@per_video
def embed(item: Item, context: StageContext) -> Meaning:
    """Return the embeddings of a video's texts and of its parts, and the category that is nearest."""
    from vidpipe.text.languages import detected_language
    from vidpipe.text.words import normalize

    model: WorkerModel = context.resources["text_model"]
    sentences: CategorySentences = context.resources["category_sentences"]
    texts = [text for text in _texts(item, context) if any(map(str.strip, text.lines))]
    parts = list(_parts(texts, item["scenes.scenes"]))
    whole = _joined((text.lines for text in texts), _LONGEST_BYTES)
    if not whole:
        return Meaning(models=tuple(ModelUse(**use) for use in model.uses))
    vector, *vectors = ask(model, {"texts": [whole, *(text for _, _, text in parts)], "query": False}, context)
    suggestion = None
    if len(sentences.sentences) > 1 and len(set(normalize(whole).split())) >= _FEWEST_WORDS:
        nearest, second, margin = nearest_of(vector, list(sentences.sentences), sentences.embedded(model, context))
        chosen = margin >= context.settings.meaning.category_margin
        suggestion = CategorySuggestion(category=nearest, runner_up=second, margin=round(margin, 3), chosen=chosen)
    own = _joined((text.lines for text in texts if text.name not in _OUR_WORDS), _LONGEST_BYTES)
    return Meaning(
        vector=vector,
        parts=tuple(
            EmbeddedPart(start_s=start_s, end_s=end_s, vector=vector)
            for (start_s, end_s, _), vector in zip(parts, vectors, strict=True)
            if vector
        ),
        read_from=tuple(text.name for text in texts),
        language=detected_language(own),
        suggestion=suggestion,
        models=tuple(ModelUse(**use) for use in model.uses),
    )


def nearest_of(vector: str, names: Sequence[str], vectors: Sequence[str]) -> tuple[str, str, float]:
    """Return the nearest and the second nearest of at least two named embeddings, and the difference of the cosines."""
    from vidpipe.models.embeddings import directions

    cosines = (directions(vectors) @ directions([vector])[0]).tolist()
    (first, name), (second, other) = sorted(zip(cosines, names, strict=True), key=lambda one: -one[0])[:2]
    return name, other, first - second


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
    different = [list(dict.fromkeys(" ".join(line.split()) for line in lines)) for lines in texts]
    joined: list[str] = []
    for lines in different:
        share = most_bytes // len(different)
        step = math.ceil(sum(len(line.encode(errors="replace")) + 1 for line in lines) / share) or 1
        joined.append("\n".join(lines[::step]).encode(errors="replace")[:share].decode(errors="ignore").strip())
    return "\n".join(dict.fromkeys(filter(None, joined)))


def _build_text_model(settings: Settings) -> StageResource:
    from vidpipe.models.text_embedding import build_text_model

    return build_text_model(settings)


def _build_sentences(settings: Settings) -> StageResource:
    from vidpipe.tagging.categories import build_categories

    return CategorySentences(build_categories(settings).sentences)


ANALYSIS = Analysis(
    stage=Stage(
        name="meaning",
        job="label",
        description="What the video is about: embeddings of its texts, their language, and the nearest category.",
        result=Meaning,
        function=embed,
        reads=(*READS, "ingest.titles", "metadata.cues", "metadata.title"),
        optional_reads=("descriptions.measured", "descriptions.scenes", "descriptions.text"),
        settings=("meaning.category_margin",),
        resources=("category_sentences", "text_model"),
        batch_size=16,
        kinds=("embedding",),
        optional=True,
    ),
    resources={"category_sentences": _build_sentences, "text_model": _build_text_model},
)
