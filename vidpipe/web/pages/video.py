"""The page of one video: player, timeline, transcript, and everything that is known with the reasons for it."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vidpipe.library.library import Library
from vidpipe.library.queries.explain import reasons
from vidpipe.library.queries.show import answers_of, said, stored_fields, view
from vidpipe.search.grammar import quoted
from vidpipe.search.matching import Matcher
from vidpipe.search.query import QueryError
from vidpipe.text.messages import clock_time
from vidpipe.text.names import language_name, short_language_code
from vidpipe.text.stems import language_of
from vidpipe.text.words import tag_key
from vidpipe.web.access import Reader
from vidpipe.web.home import Opened
from vidpipe.web.pages.rendering import dagster_page, render
from vidpipe.web.pages.video_timeline import lanes, lines
from vidpipe.web.selection import Asked, Sha256

router = APIRouter()

_CLOCK = re.compile(r"(?<![\d:.])(\d{1,3}(?::[0-5]\d){1,2}(?:\.\d+)?)(?![\d:])")


@router.get("/videos/{sha256}", name="video")
def video(
    request: Request, opened: Opened, caller: Reader, sha256: Sha256, *,
    q: Annotated[str, Query(max_length=2000)] = "",
    t: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    scene: Annotated[int | None, Query(ge=0)] = None,
) -> HTMLResponse:  # fmt: skip
    """Show a video from `t` on, or from `scene` on, with the words of `q` marked."""
    library = opened.library
    found = view(library, sha256, opened.plan.specs)
    matcher = Matcher(())
    with suppress(QueryError):
        matcher = opened.engine.matcher(q)

    def parts(text: str, language: str = "") -> list[tuple[str, bool]]:
        return matcher.parts(text, language_of([text], language)) if q.strip() else [(text, False)]

    def matches(text: str, language: str) -> bool:
        return any(wanted for _, wanted in parts(text, language))

    spoken, shown = lines(said(found)), lines((found["screen_text"] or {}).get("entries") or ())
    if t is None:
        t = next((one["start_s"] for one in found["scenes"] if one["index"] == scene), 0.0)
    duration_s = (found["metadata"] or {}).get("duration_s") or 0.0
    return render(
        request, "video.html", found=found, video=found["video"], q=q, start_s=t, duration_s=duration_s,
        said=spoken, shown=shown, lanes=lanes(found, spoken, shown, matches), parts=parts,
        timed=functools.partial(_timed, end_s=duration_s), clock=clock_time, language_name=language_name,
        lang=short_language_code, tag_key=tag_key, quoted=quoted,
        verdicts=library.verdicts.of_video(sha256), dagster=dagster_page(opened.settings),
        **_answers(library, sha256),
    )  # fmt: skip


@router.get("/videos/{sha256}/explain")
def explain(request: Request, opened: Opened, caller: Reader, sha256: Sha256, tag: Asked = None) -> HTMLResponse:
    """Show why the video has a tag or, without one, why it does not have the others: a part of its page."""
    duration_s = (stored_fields(opened.library, sha256, "metadata.duration_s").get("metadata") or {}).get("duration_s")
    timed = functools.partial(_timed, end_s=duration_s or 0.0)
    found = reasons(opened.library, sha256, opened.plan.specs, tag)
    return render(request, "video/explain.html", found=found, asked=tag, q="", timed=timed, clock=clock_time)


def _timed(text: str, end_s: float) -> Iterator[tuple[str, float | None]]:
    """Yield the parts of a text; with a time in the video where the part is one."""
    for number, part in enumerate(_CLOCK.split(text)):
        time_s = sum(float(one) * 60**place for place, one in enumerate(reversed(part.split(":")))) if number % 2 else 0
        yield part, time_s if number % 2 and time_s <= end_s else None


def _answers(library: Library, sha256: str) -> dict[str, Any]:
    """Return the model's answers by start of their scene (None: about the whole video), and the prompts' templates."""
    answers: dict[float | None, list[dict[str, Any]]] = defaultdict(list)
    for answer in answers_of(library, sha256):
        answers[answer["start_s"] if answer["scope"] == "scene" else None].append(answer)
    ids = {f"text:{answer['template']}" for rows in answers.values() for answer in rows}
    texts = library.collections["lineage"].find({"_id": {"$in": sorted(ids)}}, {"text": 1})
    return {"answers": answers, "prompts": {row["_id"].removeprefix("text:"): row["text"] for row in texts}}
