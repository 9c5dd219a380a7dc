"""What one answer of the describing model depends on, as one key."""

from __future__ import annotations

import hashlib


def digest(*parts: str) -> str:
    """16 hex digits of the sha256 of `parts`; parts that are divided otherwise give another one."""
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode()
        joined.update(len(data).to_bytes(8, "big") + data)
    return joined.hexdigest()[:16]


def cell_key(
    *, video: str, scope: str, start_s: float, end_s: float, prompt_hash: str, model: str, frames_version: str
) -> str:
    """The key of an answer cell: equal keys have equal answers.

    video:          sha256 of its bytes
    scope:          "video" or "scene"; the scene is named by its times, so that a scene which stays the same while
                    others are cut anew keeps its answers
    model:          the model's `version`
    frames_version: of what the model was shown: frames, or measurements
    """
    span = f"{start_s:.3f}-{end_s:.3f}"
    return f"{video[:16]}:{scope}:{span}:{digest(video, scope, span, prompt_hash, model, frames_version)}"
