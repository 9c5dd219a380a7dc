"""What one answer of the describing model depends on, as one key."""

from __future__ import annotations

import hashlib


def digest(*parts: str) -> str:
    """Return 16 hex digits of the sha256 of `parts`, which also depend on where one part ends and the next begins."""
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode()
        joined.update(len(data).to_bytes(8, "big") + data)
    return joined.hexdigest()[:16]


def answer_key(
    *, video: str, scope: str, start_s: float, end_s: float, prompt_hash: str, model: str, frames_version: str
) -> str:
    """Return the key of a stored answer: equal keys have equal answers.

    Args:
        video: sha256 of its bytes.
        scope: "video" or "scene". A scene is identified by its times, so that it keeps its answers while other scenes
            change.
        start_s: Start of what is described, in seconds.
        end_s: Its end.
        prompt_hash: Hash of the prompt.
        model: The model's `version`.
        frames_version: Version of what the model saw: frames, or measurements.
    """
    span = f"{start_s:.3f}-{end_s:.3f}"
    return f"{video[:16]}:{scope}:{span}:{digest(video, scope, span, prompt_hash, model, frames_version)}"
