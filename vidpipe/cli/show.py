"""vidpipe show: everything known about one video."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, Video
from vidpipe.cli.output import (
    STATE_STYLES,
    answered,
    clean,
    counted,
    duration,
    out,
    print_json,
    say,
    size,
    table,
    words,
)
from vidpipe.library.queries.show import answers_of, described_by, view
from vidpipe.safe_files import text_path
from vidpipe.text.names import language_name

_MOST_SCENES = 30
_MOST_SOURCES = 20
_MOST_LABELS = 8
#: Below this margin, the nearest category and the second are equally near.
_CLEAR_MARGIN = 0.03
_SOURCE_DATA = {
    "site": "site", "uploader": "uploader", "uploaded_on": "uploaded", "licence": "licence", "chosen": "took",
    "reason": "because",
}  # fmt: skip
_SPAN = ("from – to", {"no_wrap": True})


def show(
    context: typer.Context,
    video: Video,
    *,
    scenes: Annotated[
        int, typer.Option("--scenes", min=0, help="Maximum number of scenes, and of lines said or shown; 0 means all.")
    ] = _MOST_SCENES,
    answers: Annotated[
        bool, typer.Option("--answers", help="Also list the model's answers: prompt, model, frames, tokens, run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show everything known about one video.

    Facts, scenes, description, sentiment, tags with their evidence, category, and stages.
    """
    with open_library(context) as opened:
        sha256 = opened.library.videos.resolve(video)
        found = view(opened.library, sha256, opened.plan.specs)
        if answers:
            found["answers"] = answers_of(opened.library, sha256)
    if as_json:
        print_json(found)
        return
    show_view(found, scenes)
    if answers:
        _show_answers(found["answers"])


def show_view(found: Mapping[str, Any], most_scenes: int = _MOST_SCENES) -> None:
    """Print what `vidpipe.library.queries.show.view` returns; at most `most_scenes` scenes (0: all)."""
    console = out()
    video = found["video"]
    console.print(words(video["name"], "bold"))
    for label, value in _facts(found):
        if value:
            say(console, words(value), f"{clean(label):<12} ")
    if found["damage"]:
        kind, _, said = found["damage"]["sentence"].partition(": ")
        say(console, words(said, "yellow"), f"{kind.lower():<12} ")
    _show_tags([tag for tag in found["tags"] if not tag.get("facet")])
    _show_scenes(found["scenes"], most_scenes)
    show_moments(found, most_scenes)
    _show_stages(found["stages"])


def times_of(spans: Sequence[Mapping[str, Any]]) -> str:
    """Name spans of time: "3.00 – 3.20 s, 7.00 – 8.00 s"."""
    return ", ".join(_first([f"{span['start_s']:.2f} – {span['end_s']:.2f} s" for span in spans]))


def _checked(checked: Mapping[str, Any] | None) -> str:
    if not checked:
        return ""
    state = "intact" if checked["intact"] else f"damaged: {times_of(checked['spans'])}"
    return f"{checked['at']:%Y-%m-%d}, {state}"


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    video, metadata = found["video"], found["metadata"]
    facts = [("hash", video["sha256"]), ("file", f"{text_path(video['path'] or '-')}, {size(video['size_bytes'])}"),
             ("checked", _checked(found["checked"]))]  # fmt: skip
    gone = [f", gone since {one['gone_since']:%Y-%m-%d}" if one["gone_since"] else "" for one in found["sources"]]
    sources = [f"{one['url']} ({one['state']}{since})" for one, since in zip(found["sources"], gone, strict=True)]
    facts.append(("also named", ", ".join(_first(video["names"][1:]))))
    facts += [("title", title) for title in _first(video["titles"])]
    facts.append(("labels", ", ".join(video["labels"])))
    facts += [("source", source) for source in _first(sources)]
    if parts := [part for source in found["sources"] for part in source["segments"]]:
        labels = Counter(label for part in parts for label in part["labels"]).most_common()
        numbers = ", ".join(_first([f"{label} {number}" for label, number in labels]))
        facts.append(("parts", f"{counted(len(parts), 'labelled part')}: {numbers}"))
    for source in found["sources"][:1]:
        data = (source["data"] or {}) | ({"licence": source["licence"]} if source["licence"] else {})
        facts += [(label, str(data.get(name) or "")) for name, label in _SOURCE_DATA.items()]
    if metadata:
        rate = f"{metadata['frame_rate']:.6g} fps" if metadata["frame_rate"] else ""
        picture = [
            duration(metadata["duration_s"]), f"{metadata['width']}x{metadata['height']} {metadata['resolution']}",
            metadata["video_codec"], rate, metadata["hdr"] or "", "mirrored" if metadata.get("mirrored") else "",
        ]  # fmt: skip
        facts.append(("picture", ", ".join(part for part in picture if part)))
        facts.append(("decoded", _decoded(found["scene_summary"] or {}, metadata)))
        facts.append(("black bars", black_bars(found)))
        facts += [("sound", _stream(stream, _channels(stream["channels"]))) for stream in metadata["audio"]]
        facts += [("subtitles", _stream(stream)) for stream in metadata["subtitles"]]
        facts.append(("file title" if video["titles"] else "title", metadata["title"] or ""))
        facts += [("note", note) for note in metadata.get("notes", ())]
        announced_s = metadata.get("announced_duration_s")
        if announced_s and not found["damage"]:
            facts.append(("truncated", f"the header declares {announced_s:.2f} s; the file contains less"))
    description, sentiment, category = (found["description"], found["sentiment"], found["category"])
    if description:
        facts.append(("description", f"{description['text']} ({described_by(description)})"))
        facts += [("summary", description.get("summary", "")), ("keywords", ", ".join(description.get("keywords", ())))]
    if sentiment:
        if sentiment["score"] is None:
            judged = f"{sentiment['label']}: {sentiment['reason']}"
        else:
            judged = f"{sentiment['label']} {sentiment['score']:+.2f}, read from {sentiment['read_from']}"
            if sentiment["read_from"] == "frames" and sentiment["reason"]:
                judged += f": {sentiment['reason']}"
        facts.append(("sentiment", judged))
    if category:
        name = " → ".join(filter(None, (category["category"], category["subcategory"])))
        ahead = "" if category["margin"] is None else f", {category['margin']:g} ahead"
        facts.append(("category", f"{name} ({category['score']:g}{ahead}): {category['reason']}"))
        if proposal := category.get("proposal"):
            facts.append(("model's", f"{proposal['category']}{_sure(proposal)}: {proposal['reason']}"))
    facts += analysis_facts(found)
    facts.append(("facets", ", ".join(tag["tag"] for tag in found["tags"] if tag.get("facet"))))
    if description:
        facts += [(answer["id"], _answer(answer)) for answer in description.get("questions", ())]
        facts += [
            ("wrong form", f"{wrong['prompt']}: {wrong['fault']}")
            for wrong in description.get("wrong", ())
            if not wrong["prompt"].startswith("question:")
        ]
    return facts


def _first(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _MOST_SOURCES
    return [*texts[:_MOST_SOURCES], *([f"… and {more:,} more (all with --json)"] if more > 0 else [])]


def black_bars(found: Mapping[str, Any]) -> str:
    """Describe the black bars of one video as returned by `view`; empty without bars."""
    area = (found["scene_summary"] or {}).get("active_area")
    if area:
        return f"around a picture of {area['width']}x{area['height']} at {area['x']},{area['y']}"
    barred = sum(1 for scene in found["scenes"] if scene["active_area"])
    return f"in {barred} of {len(found['scenes'])} scenes" if barred else ""


def _decoded(scenes: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Describe how the stage scenes decoded the video; empty if the stored result does not say."""
    if not (decoded := scenes.get("decoded")):
        return ""
    partial = decoded == "partial"
    frames = f"{scenes['frames_decoded']:,} of {metadata['frame_count']:,} frames" if partial else "all frames"
    return f"{frames}, {scenes['decoder']}"


def _sure(found: Mapping[str, Any]) -> str:
    return "" if found["confidence"] is None else f" (confidence {found['confidence']:.2g})"


def _answer(answer: Mapping[str, Any]) -> str:
    if answer["fault"]:
        return f"? {answer['raw']} ({answer['fault']})"
    return answered(answer["value"])


def _channels(number: int | None) -> str:
    return counted(number, "channel") if number else "? channels"


def _stream(stream: Mapping[str, Any], *more: str) -> str:
    return ", ".join(part for part in (stream["codec"], *more, stream["language"] or "", stream["title"] or "") if part)


def _show_tags(tags: Sequence[Mapping[str, Any]]) -> None:
    if not tags:
        return
    made = table("tag", "rule", "because", fold=("rule", "because"))
    for tag in tags:
        made.add_row(words(tag["tag"], "green"), words(tag["rule"]), words(tag["evidence"]))
    out().print(made)


def _show_scenes(scenes: Sequence[Mapping[str, Any]], most: int) -> None:
    if not scenes:
        return
    made = table("scene", _SPAN, "description", right=("scene",), fold=("description",))
    for scene in scenes[:most] if most else scenes:
        span = f"{duration(scene['start_s'])} – {duration(scene['end_s'])}"
        said = [f"{answer['id']}: {_answer(answer)}" for answer in scene.get("answers") or ()]
        made.add_row(str(scene["index"]), span, words("\n".join([scene["description"] or "", *said]).strip()))
    console = out()
    console.print(made)
    if most and len(scenes) > most:
        console.print(words(f"… and {len(scenes) - most} more scenes (--scenes 0 shows all).", "dim"))


def _show_answers(answers: Sequence[Mapping[str, Any]]) -> None:
    if not answers:
        out().print("The model has not answered any questions about this video.")
        return
    columns = ("prompt", _SPAN, "answer", "tokens", "produced with")
    made = table(*columns, right=("tokens",), fold=("answer", "produced with"))
    for answer in answers:
        span = f"{duration(answer['start_s'])} – {duration(answer['end_s'])}"
        said = f"{answer['raw_text']}\n({answer['fault']})" if answer["fault"] else answer["raw_text"]
        with_what = f"{answer['model']}, template {answer['template']}, frames {answer['frames_version']}"
        style = "" if answer["in_force"] else "dim"
        made.add_row(
            words(answer["prompt_id"], style), span, words(said, style),
            f"{answer['prompt_tokens']} + {answer['tokens']}", words(with_what, "dim"),
        )  # fmt: skip
    out().print(made)
    if not all(answer["in_force"] for answer in answers):
        out().print(
            words("Dimmed: answers to earlier prompts, models or frames; kept and reused if these return.", "dim")
        )


def _show_stages(stages: Mapping[str, Mapping[str, Any]]) -> None:
    made = table("stage", "state", "seconds", "", right=("seconds",), fold=("",))
    for name, stage in stages.items():
        error = stage["error"]
        seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.2f}"
        said = f"{error['message']} {error['hint']}".strip() if error else ""
        made.add_row(name, words(stage["state"], STATE_STYLES.get(stage["state"], "dim")), seconds, words(said))
    out().print(made)


def analysis_facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, text) of what each analysis found in a video as returned by `view`; disabled ones are left out."""
    facts: list[tuple[str, list[str]]] = []
    if speech := found["speech"]:
        heard = [*map(language_name, speech["languages"]), duration(speech["speech_s"])] if speech["segments"] else []
        facts.append(("speech", heard))
    if screen_text := found["screen_text"]:
        texts = [counted(len(screen_text["entries"]), "text")] if screen_text["entries"] else []
        facts.append(("on screen", [*texts, *map(language_name, screen_text["languages"])]))
    if objects := found["objects"]:
        facts.append(("objects", [f"{one['label']} {one['share']:.0%}" for one in objects["labels"][:_MOST_LABELS]]))
    if faces := found["faces"]:
        seen = [f"up to {faces['count']}", f"{faces['share']:.0%} of the time"]
        facts.append(("faces", seen if faces["count"] else []))
    if moderation := found["moderation"]:
        facts.append(("moderation", [f"score {moderation['score']:.2f}, a hint rather than a verdict"]))
    suggestion = (found["meaning"] or {}).get("suggestion")
    if suggestion and suggestion["margin"] >= _CLEAR_MARGIN:
        rival = f"before {suggestion['runner_up']} by {suggestion['margin']:.3f}" if suggestion["runner_up"] else ""
        facts.append(("suggestion", [suggestion["category"], *filter(None, [rival])]))
    return [(label, ", ".join(texts) or "none") for label, texts in facts]


def show_moments(found: Mapping[str, Any], most: int) -> None:
    """Print what is said and written in a video, with times; at most `most` lines of each (0: all)."""
    for heading, analysis, parts in (("said", "speech", "segments"), ("on screen", "screen_text", "entries")):
        rows = (found[analysis] or {}).get(parts) or ()
        if not rows:
            continue
        made = table(_SPAN, heading, fold=(heading,))
        for row in rows[:most] if most else rows:
            made.add_row(f"{duration(row['start_s'])} – {duration(row['end_s'])}", words(row["text"]))
        out().print(made)
        if most and len(rows) > most:
            out().print(words(f"… and {len(rows) - most:,} more (--scenes 0 shows all).", "dim"))
