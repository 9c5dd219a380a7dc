"""What ffmpeg reports about its input while it decodes."""

import re
import threading
from typing import IO

from vidpipe.media import memory
from vidpipe.redaction import redact

_MAX_MESSAGES = 8
_MAX_MESSAGE_LENGTH = 300
_MAX_PATTERNS = 256
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_LEVEL = re.compile(r"^(?P<context>(?:\[[^\]]*\] )*?)\[(?P<level>error|fatal|panic)\] (?P<text>.*)$")
_NUMBER = re.compile(r"0x[0-9a-f]+|-?\d+")
#: Messages that affect no picture: a picture to be dropped was lost when a part was copied; a chained Ogg stream
#: restarts.
HARMLESS = frozenset({"mmco: unref short failure", "Header packet passed to frame decoder, skipping"})
#: Contexts after decoding: their messages (about an adjusted timestamp) say nothing about the file.
_OUTPUT_CONTEXT = re.compile(r"^\[(?:tee|framecrc|image2pipe|s16le|swscaler|out#|vost#|aost#)")


class DecoderMessages(threading.Thread):
    """Reads ffmpeg's standard error (`-loglevel repeat+level+error`) to its end.

    Args:
        pipe: ffmpeg's standard error.

    Attributes:
        count: Number of error messages about the input.
        messages: The first distinct ones, without addresses; messages that differ only in numbers count as equal.
        lacked_memory: Whether one of them reports a failed allocation.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True, name="ffmpeg-messages")
        self._pipe = pipe
        self._seen: set[str] = set()
        self.lacked_memory = False
        self.count = 0
        self.messages: list[str] = []

    def run(self) -> None:
        """Read until the pipe is closed."""
        # readline with a limit: a hostile file can cause lines of any length
        while raw := self._pipe.readline(4096):
            self._add(raw.decode(errors="replace").strip())
        self._pipe.close()

    def _add(self, line: str) -> None:
        self.lacked_memory = self.lacked_memory or memory.perhaps_out_of_memory(line)
        line = _ADDRESS.sub("", line)
        found = _LEVEL.match(line)
        if not found or _OUTPUT_CONTEXT.match(found["context"]):
            return
        if found["text"].endswith("to muxer in stream 0") or found["text"] in HARMLESS:
            return
        self.count += 1
        message = redact(f"{found['context']}{found['text']}".strip())[:_MAX_MESSAGE_LENGTH]
        pattern = _NUMBER.sub("#", message)
        if len(self.messages) < _MAX_MESSAGES and pattern not in self._seen and len(self._seen) < _MAX_PATTERNS:
            self._seen.add(pattern)
            self.messages.append(message)
