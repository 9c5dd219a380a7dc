"""What ffmpeg complains of while it decodes: counted, the first distinct messages kept, in bounded memory."""

from __future__ import annotations

import re
import threading
from typing import IO

from vidpipe.media import memory
from vidpipe.redaction import redact

_KEPT = 8
_LINE_LIMIT = 300
_REMEMBERED = 256
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_LEVEL = re.compile(r"^(?P<context>(?:\[[^\]]*\] )*?)\[(?P<level>error|fatal|panic)\] (?P<text>.*)$")
_NUMBER = re.compile(r"0x[0-9a-f]+|-?\d+")
#: No picture is the worse for it: one that is to be forgotten was cut off when a part was copied, and a chained Ogg
#: stream begins anew.
_HARMLESS = frozenset({"mmco: unref short failure", "Header packet passed to frame decoder, skipping"})
#: Contexts of what comes after decoding: their complaints (a time stamp that was moved) say nothing about the file.
_OUTPUT_CONTEXT = re.compile(r"^\[(?:tee|framecrc|image2pipe|s16le|swscaler|out#|vost#|aost#)")


class DecoderMessages(threading.Thread):
    """Reads ffmpeg's standard error (`-loglevel repeat+level+error`) to its end.

    count:         number of error messages about the input
    messages:      the first distinct ones, without addresses; two that differ only in numbers are one
    lacked_memory: whether one of them says that memory was refused
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True, name="ffmpeg-messages")
        self._pipe = pipe
        self._seen: set[str] = set()
        self.lacked_memory = False
        self.count = 0
        self.messages: list[str] = []

    def run(self) -> None:
        # readline with a limit: a hostile file can make a line as long as it likes
        while raw := self._pipe.readline(4096):
            self._take(raw.decode(errors="replace").strip())
        self._pipe.close()

    def _take(self, line: str) -> None:
        self.lacked_memory = self.lacked_memory or memory.may_have_lacked_memory(line)
        line = _ADDRESS.sub("", line)
        found = _LEVEL.match(line)
        if not found or _OUTPUT_CONTEXT.match(found["context"]):
            return
        if found["text"].endswith("to muxer in stream 0") or found["text"] in _HARMLESS:
            return
        self.count += 1
        message = redact(f"{found['context']}{found['text']}".strip())[:_LINE_LIMIT]
        pattern = _NUMBER.sub("#", message)
        if len(self.messages) < _KEPT and pattern not in self._seen and len(self._seen) < _REMEMBERED:
            self._seen.add(pattern)
            self.messages.append(message)
