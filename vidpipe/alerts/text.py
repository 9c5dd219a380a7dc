"""Text of strangers (file names, page titles, answers of servers) made fit for a message."""

from __future__ import annotations

import re
import unicodedata

from vidpipe.redaction import redact

_SPACES = re.compile(r"\s+")


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters: no control characters, no line breaks, nothing that turns the
    direction of writing, secrets masked."""
    shown = "".join(" " if character.isspace() else character for character in text if _is_printed(character))
    shown = redact(_SPACES.sub(" ", shown).strip())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def _is_printed(character: str) -> bool:
    """Not of the categories control, format (bidirectional marks, joiners), half a pair, private, unassigned."""
    return character.isspace() or not unicodedata.category(character).startswith("C")


def without_mentions(text: str) -> str:
    """`text` for a chat: nobody is called by an @ in it, and no link or command of Slack's is hidden in it."""
    text = text.replace("<", "‹").replace(">", "›").replace("](", "] (")
    return text.replace("@", "@\u200b")
