"""Embeddings as they are stored: directions as int8, in Base64; and models that stay loaded for searching."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vidpipe.models.worker import WorkerModel

_loaded: dict[str, WorkerModel] = {}


def packed(vectors: NDArray[np.float32]) -> list[str]:
    """Return each row, scaled so that its largest element is ±127, as int8 in Base64; "" for one without direction."""
    import numpy as np

    largest = np.abs(vectors).max(axis=1, keepdims=True)
    elements = np.rint(127 * vectors / np.where(largest > 0, largest, 1)).astype(np.int8)
    return [base64.b64encode(row.tobytes()).decode() if row.any() else "" for row in elements]


def elements(vector: str) -> Sequence[int]:
    """Return the elements of a stored embedding, -127 to 127."""
    return memoryview(base64.b64decode(vector)).cast("b")


def directions(vectors: Sequence[str]) -> NDArray[np.float32]:
    """Return stored embeddings as rows of length 1; their products are cosines."""
    import numpy as np

    rows = np.array([elements(vector) for vector in vectors], np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def embedded(model: WorkerModel, request: Mapping[str, Any]) -> Sequence[int]:
    """Return the first embedding that a model answers a request with; its process stays until this one ends."""
    return elements(_loaded.setdefault(model.version, model).call(request, threading.Event())[0])
