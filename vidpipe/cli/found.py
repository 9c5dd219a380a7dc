"""What the analyses found in one video, as `vidpipe show` prints it."""

from collections.abc import Iterator, Mapping
from typing import Any

from vidpipe.cli.output import counted, duration, out, table, words
from vidpipe.text.names import language_name

_MOST_LABELS = 12
#: Below this margin, the nearest category and the second are equally near.
_CLEAR_MARGIN = 0.03


def analysis_facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, text) of what each analysis found in a video as returned by `view`; disabled ones are left out."""
    facts: list[tuple[str, str]] = []
    if speech := found["speech"]:
        said = _languages(speech["languages"]) or "none"
        facts.append(("speech", f"{said}, {duration(speech['speech_s'])}" if speech["segments"] else "none"))
    if screen_text := found["screen_text"]:
        texts = counted(len(screen_text["entries"]), "text")
        languages = _languages(screen_text["languages"])
        facts.append(("on screen", ", ".join(filter(None, (texts, languages)))))
    if objects := found["objects"]:
        facts.append(("objects", ", ".join(map(_label, objects["labels"][:_MOST_LABELS])) or "none"))
    if faces := found["faces"]:
        share = f"{faces['share']:.0%} of the time" if faces["count"] else ""
        facts.append(("faces", ", ".join(filter(None, (f"up to {faces['count']}" if share else "none", share)))))
    if moderation := found["moderation"]:
        facts.append(("moderation", f"score {moderation['score']:.2f} (a hint for a reviewer, not a verdict)"))
    if meaning := found["meaning"]:
        facts.append(("meaning of", ", ".join(meaning["read_from"]) or "nothing: there is no text"))
        if suggestion := meaning["suggestion"]:
            first, second, margin = (suggestion[name] for name in ("category", "runner_up", "margin"))
            said = f"category {first}, before {second} by {margin:.3f}" if margin >= _CLEAR_MARGIN else "none clear"
            facts.append(("suggestion", said))
    return facts


def _languages(codes: list[str]) -> str:
    return ", ".join(map(language_name, codes))


def _label(label: Mapping[str, Any]) -> str:
    return f"{label['label']} ({label['count']} at once, {label['share']:.0%})"


def show_moments(found: Mapping[str, Any], most: int) -> None:
    """Print what is said and written in a video, with times; at most `most` lines of each (0: all)."""
    for heading, lines in (
        ("said", _lines(found["speech"], "segments")),
        ("on screen", _lines(found["screen_text"], "entries")),
    ):
        rows = list(lines)
        if not rows:
            continue
        made = table(("from – to", {"no_wrap": True}), (heading, {"overflow": "fold"}))
        for span, text in rows[:most] if most else rows:
            made.add_row(span, words(text))
        out().print(made)
        if most and len(rows) > most:
            out().print(words(f"… and {len(rows) - most:,} more (--scenes 0 shows all).", "dim"))


def _lines(result: Mapping[str, Any] | None, parts: str) -> Iterator[tuple[str, str]]:
    for part in (result or {}).get(parts, ()):
        yield f"{duration(part['start_s'])} – {duration(part['end_s'])}", part["text"]
