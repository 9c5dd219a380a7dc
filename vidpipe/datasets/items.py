"""Items of the library: whole videos, and parts of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vidpipe.datasets.clips.ranges import by_length, by_scene
from vidpipe.datasets.item import DatasetItem, ItemAnswer, ItemScene, ItemSegment, ItemSource, ItemTag, ItemText
from vidpipe.library.exports import KEY_DIGITS
from vidpipe.library.library import Library
from vidpipe.library.queries.show import said, views
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.models.questions import build_questions
from vidpipe.runner.plan import Plan
from vidpipe.stages.results import MODEL_TAGS

_BATCH = 50
_TITLE_CUT = 200
Span = tuple[float, float]


def items_of(
    library: Library,
    ids: Sequence[str],
    *,
    specs: Mapping[str, str],
    versions: Mapping[str, str],
    questions: Mapping[str, str],
    spans: Callable[[Document], Iterable[Span]] | None = None,
) -> Iterator[DatasetItem]:
    """Yield the items of videos, by the hash of the video and their times. Videos without metadata have none.

    Args:
        library: The library.
        ids: The videos.
        specs: Today's spec of each stage that can run.
        versions: See `DatasetItem.versions`.
        questions: Id of a question -> its text.
        spans: Gives (start, end) of a video's items in seconds, by its `view`; None: each video is one item.
    """
    for batch in chunked(sorted(set(ids)), _BATCH):
        for view in views(library, batch, specs):
            if not view["metadata"]:
                continue
            duration_s = float(view["metadata"].get("duration_s") or 0.0)
            whole = (0.0, duration_s)
            for span in sorted(spans(view)) if spans else (whole,):
                yield _item(view, span, span == whole or spans is None, versions, questions)


def library_items(
    library: Library, plan: Plan, ids: Sequence[str], *, scenes: bool = False, length_s: float | None = None
) -> Iterator[DatasetItem]:
    """Yield the items of videos as the library knows them now: whole videos, their scenes, or parts of `length_s`."""

    def spans(view: Document) -> list[Span]:
        duration_s = view["metadata"].get("duration_s") or 0.0
        parts = by_length(duration_s, length_s, 0.0, "drop") if length_s else by_scene(view["scenes"])
        return [(part.start_s, part.end_s) for part in parts]

    return items_of(
        library, ids, specs=plan.specs, versions=label_versions(plan),
        questions={question.id: question.text for question in build_questions(plan.settings)},
        spans=spans if scenes or length_s else None,
    )  # fmt: skip


def label_versions(plan: Plan) -> dict[str, str]:
    """Return the versions of what labels videos: rules, categories and the model."""
    resources = plan.resources
    return {name: resources[name].version for name in ("custom_tags", "categories", "model") if name in resources}


def key_of(video: str, start_s: float, end_s: float, *, whole: bool) -> str:
    """Return the key of an item. It has no dot: WebDataset takes what follows the first one for the suffix."""
    times = "" if whole else f"-{round(start_s * 1000):08d}-{round(end_s * 1000):08d}"
    return video[:KEY_DIGITS] + times


def _item(
    view: Mapping[str, Any], span: Span, whole: bool, versions: Mapping[str, str], questions: Mapping[str, str]
) -> DatasetItem:
    video, metadata = view["video"], view["metadata"]
    start_s, end_s = span
    description: Document = view["description"] or {}
    category: Document = view["category"] or {}
    scenes = [
        ItemScene(index=one["index"], start_s=at[0], end_s=at[1], description=one.get("description") or "")
        for one in view["scenes"]
        if (at := _within(span, one["start_s"], one["end_s"]))
    ]
    segments = _segments(view, span)
    here = " ".join(scene.description for scene in scenes if scene.description)
    return DatasetItem(
        key=key_of(video["sha256"], start_s, end_s, whole=whole),
        video=video["sha256"],
        name=video["name"],
        path=video["path"],
        start_s=start_s,
        end_s=end_s,
        whole=whole,
        group=video["sha256"],
        width=metadata.get("width") or 0,
        height=metadata.get("height") or 0,
        frame_rate=metadata.get("frame_rate"),
        has_audio=bool(metadata.get("audio")),
        video_streams=metadata.get("video_streams") or 1,
        size_bytes=video["size_bytes"],
        title=video["title"] and video["title"][:_TITLE_CUT],
        labels=_labels(video["labels"], segments, whole=whole),
        tags=_tags(view["tags"], segments, whole=whole),
        category=category.get("category"),
        subcategory=category.get("subcategory"),
        description=(description.get("text") or "") if whole or not here else here,
        described_by=description.get("model") or "",
        measured=bool(description.get("measured")),
        answers=tuple(
            ItemAnswer(id=one["id"], question=questions.get(one["id"], ""), value=one["value"])
            for one in description.get("questions") or ()
            if one.get("value") is not None
        ),
        scenes=tuple(scenes),
        segments=segments,
        transcript=tuple(
            ItemText(start_s=at[0], end_s=at[1], text=one["text"], language=one.get("language") or "")
            for one in said(view)
            if (at := _within(span, one["start_s"], one["end_s"]))
        ),
        chapters=tuple(
            ItemText(start_s=at[0], end_s=at[1], text=one["title"])
            for one in metadata.get("chapters") or ()
            if one.get("title") and (at := _within(span, one["start_s"], one["end_s"]))
        ),
        sources=tuple(
            ItemSource(
                url=one["url"],
                site=(one["data"] or {}).get("site", ""),
                licence=one["licence"] or (one["data"] or {}).get("licence", ""),
            )
            for one in view["sources"]
            if one["video"] == video["sha256"]
        ),
        versions=dict(versions),
    )


def _within(span: Span, start_s: float, end_s: float | None) -> Span | None:
    """Return the part of a span of the video inside an item, from its start; None if there is none."""
    start, end = max(start_s, span[0]), min(span[1] if end_s is None else end_s, span[1])
    return (round(start - span[0], 6), round(end - span[0], 6)) if end > start else None


def _segments(view: Mapping[str, Any], span: Span) -> tuple[ItemSegment, ...]:
    stated: Iterable[tuple[float, float | None, str, Any, str]] = [
        *((one["start_s"], one["end_s"], label, "label", "")
          for source in view["sources"] if source["video"] == view["video"]["sha256"]
          for one in source["segments"] or () for label in one["labels"]),
        *((start_s, end_s, tag["tag"], "tag", tag["rule"])
          for tag in view["scene_tags"] for start_s, end_s in tag["spans"]),
    ]  # fmt: skip
    found = {
        ItemSegment(start_s=at[0], end_s=at[1], label=label, kind=kind, rule=rule)
        for start_s, end_s, label, kind, rule in stated
        if (at := _within(span, start_s, end_s))
    }
    return tuple(sorted(found, key=lambda one: (one.start_s, one.end_s, one.kind, one.label)))


def _labels(stated: Sequence[str], segments: Sequence[ItemSegment], *, whole: bool) -> tuple[str, ...]:
    of_segments = [one.label for one in segments if one.kind == "label"]
    return tuple(dict.fromkeys([*stated, *of_segments] if whole else [*of_segments, *stated]))


def _tags(tags: Sequence[Document], segments: Sequence[ItemSegment], *, whole: bool) -> tuple[ItemTag, ...]:
    given = {
        tag["tag"]: ItemTag(**{name: tag.get(name) for name in ("tag", "rule", "confidence")}, given_by=_giver(tag))
        for tag in tags
    }
    if not whole:
        of_scenes = {
            one.label: ItemTag(tag=one.label, rule=one.rule, given_by="rule") for one in segments if one.kind == "tag"
        }
        given = of_scenes | {name: tag for name, tag in given.items() if name not in of_scenes}
    return tuple(given.values())


def _giver(tag: Document) -> Any:
    return tag.get("given_by") or ("model" if tag["rule"] == MODEL_TAGS else "rule")
