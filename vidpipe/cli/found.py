"""What the analyses found in one video, as `vidpipe show` prints it."""

from collections.abc import Mapping
from typing import Any

from vidpipe.cli.output import counted, duration, out, table, words
from vidpipe.text.names import language_name

_MOST_LABELS = 8
#: Below this margin, the nearest category and the second are equally near.
_CLEAR_MARGIN = 0.03


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
        made = table(("from – to", {"no_wrap": True}), heading, fold=(heading,))
        for row in rows[:most] if most else rows:
            made.add_row(f"{duration(row['start_s'])} – {duration(row['end_s'])}", words(row["text"]))
        out().print(made)
        if most and len(rows) > most:
            out().print(words(f"… and {len(rows) - most:,} more (--scenes 0 shows all).", "dim"))
