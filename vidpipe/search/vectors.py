"""Videos found by meaning: those with embeddings nearest to that of a query's words.

Embeddings are documents of the index. For each field, the file `<kind>.usearch` beside the index helps to find the
nearest ones. It is made from these documents: whoever needs it adds and removes what differs, whatever happened before.
"""

import logging
import mmap
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from tantivy import DocAddress, Query, Searcher

from vidpipe.errors import MediaError, UnavailableError
from vidpipe.safe_files import replace_file
from vidpipe.search.documents import embedding_kind, moment_of, quantized
from vidpipe.search.index import SearchIndex
from vidpipe.search.matching import MatchedText
from vidpipe.search.query import EVERYTHING, And, Node, Or, Words, wanted
from vidpipe.search.translation import Translation
from vidpipe.stages.search_fields import SearchField

if TYPE_CHECKING:
    from usearch.index import Index

log = logging.getLogger(__name__)

#: Videos that are found.
MOST_SIMILAR = 200
#: Embeddings that are looked at: a video may have several, and some do not fulfil the query's other conditions.
_NEAREST = 2_000
#: What has a smaller share of the best one's cosine has little to do with what is searched for.
_SHARE_OF_BEST = 0.6
#: Reciprocal rank fusion: the higher, the less the first places of each ranking count (Cormack et al., SIGIR 2009).
_RANK_OFFSET = 60
#: Added embeddings that take seconds.
_MANY = 5_000
#: Of content that is followed by its own checksum. usearch crashes on some damaged files.
_CRC_OF_INTACT = 0x2144DF1C


class Near(NamedTuple):
    """A video found by meaning: the sum of its reciprocal ranks by each field, its document, and the nearest place."""

    score: float
    address: DocAddress
    place: MatchedText


class Vectors:
    """The embeddings in an index. Several threads may use it."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self._mutex = threading.Lock()
        self._open: dict[str, tuple[Searcher, Index]] = {}

    def queries(self, node: Node, *, only_meaning: bool, notes: list[str]) -> dict[str, bytes]:
        """Return field -> what its embeddings are compared with: the meaning of a query's words without a field.

        Args:
            node: The query.
            only_meaning: Words were not searched for: fields that are only compared then are compared, too.
            notes: Extended by a sentence for each field whose model is unavailable.

        Raises:
            UnavailableError, MediaError: `only_meaning`, and a model cannot be used.
        """
        found: dict[str, bytes] = {}
        text = " ".join(word.text for word in wanted(node) if _is_free_word(word))
        for field in self._index.fields.vectors.values() if text else ():
            if not field.encode or (field.only_by_meaning and not only_meaning):
                continue
            try:
                found[field.name] = quantized(field.encode(text, self._index.library.settings))
            except (UnavailableError, MediaError) as error:
                if only_meaning:
                    raise
                notes.append(f"Only words were compared, not their meaning ({field.name}): {error}")
        return {name: vector for name, vector in found.items() if vector}

    def embeddings_of(self, video: str, searcher: Searcher) -> dict[str, bytes]:
        """Return field -> the mean of a video's embeddings; of a field with one of the whole video, that one."""
        found: dict[str, list[tuple[bool, bytes]]] = {}
        query = Query.term_query(self._index.schema, "video", video, index_option="basic")
        for _, address in searcher.search(query, max(1, searcher.num_docs), False).hits:
            document = searcher.doc(address)
            if vector := bytes(document.get_first("vector") or b""):
                place = moment_of(document)
                found.setdefault(place["field"], []).append((place["start_s"] is not None, vector))
        means: dict[str, bytes] = {}
        for name, embeddings in found.items():
            first = min(embeddings)[0]
            same = [memoryview(vector).cast("b") for of_part, vector in embeddings if of_part == first]
            means[name] = quantized([sum(elements) for elements in zip(*same, strict=True)])
        return {name: mean for name, mean in means.items() if mean}

    def similar(
        self,
        queries: Mapping[str, bytes],
        conditions: Query,
        translation: Translation,
        *,
        parts: bool,
        least: float = 1.0,
        without: str = "",
    ) -> dict[str, Near]:
        """Return the videos whose embeddings are nearest; by each field, those not far behind the nearest one.

        Args:
            queries: Field -> what its embeddings are compared with.
            conditions: What the videos must fulfil.
            translation: The state of the index.
            parts: Only parts of videos are compared.
            least: Least cosine, as a share of the field's `min_similarity`.
            without: A video that is not to be found.
        """
        found: dict[str, Near] = {}
        for name, vector in queries.items():
            field = self._index.fields.vectors[name]
            bound = field.min_similarity * least
            nearest = self._nearest(field, vector, translation.searcher, parts=parts, least=bound)
            nearest.pop(without, None)
            addresses = translation.addresses(conditions, nearest)
            best = [(sha256, *nearest[sha256]) for sha256 in nearest if sha256 in addresses][:MOST_SIMILAR]
            for rank, (sha256, cosine, place) in enumerate(best, 1):
                if cosine >= _SHARE_OF_BEST * best[0][1]:
                    known = found.get(sha256, Near(0.0, addresses[sha256], place))
                    found[sha256] = known._replace(score=known.score + 1 / (_RANK_OFFSET + rank))
        return found

    def _nearest(
        self, field: SearchField, vector: bytes, searcher: Searcher, *, parts: bool, least: float
    ) -> dict[str, tuple[float, MatchedText]]:
        """Return the videos of the nearest embeddings, nearest first, each with cosine and place."""
        import numpy as np

        index = self._index_of(embedding_kind(field.name, len(vector)), len(vector))
        matches = index.search(np.frombuffer(vector, np.int8), _NEAREST)
        cosines = {int(key): 1 - float(far) for key, far in zip(matches.keys, matches.distances, strict=True)}
        near = {key: cosine for key, cosine in cosines.items() if cosine >= least}
        query = Query.term_set_query(self._index.schema, "vector_key", list(near))
        hits = searcher.search(query, max(1, len(near)), False, "vector_key").hits
        found: dict[str, tuple[float, MatchedText]] = {}
        for key, address in sorted(hits, key=lambda hit: (-near[hit[0]], hit[0])):
            place = moment_of(searcher.doc(address))
            cosine, known = found.get(place["video"], (near[key], None))
            is_part = place["start_s"] is not None
            # The video's rank is that of its nearest embedding, its place that of its nearest part.
            if (known is None and not parts) or (is_part and (known is None or known.start_s is None)):
                match = MatchedText(field.name, place["text"], (), place["start_s"], place["end_s"])
                found[place["video"]] = cosine, match
        return found

    def _index_of(self, kind: str, size: int) -> "Index":
        with self._mutex:
            searcher = self._index.searcher
            if self._open.get(kind, (None,))[0] is not searcher:
                self._open[kind] = (searcher, self._up_to_date(kind, size, searcher))
            return self._open[kind][1]

    def _up_to_date(self, kind: str, size: int, searcher: Searcher) -> "Index":
        import numpy as np
        from usearch.index import Index

        query = Query.term_query(self._index.schema, "kind", kind, index_option="basic")
        documents = dict(searcher.search(query, max(1, searcher.num_docs), False, "vector_key").hits)
        for other, embeddings in searcher.terms_with_prefix("kind", kind.removesuffix(str(size)), Query.all_query()):
            if other != kind:
                log.warning("%s embeddings (%s) cannot be compared with queries (%s)", embeddings, other, kind)
        path = self._index.folder / f"{kind}.usearch"
        index = _read(path, view=True)
        known = set(np.asarray(index.keys).tolist()) if index else set()
        gone, new = known - set(documents), set(documents) - known
        if index is None or gone or new:
            index = _read(path, view=False) if 2 * len(gone) <= len(known) else None
            if index is None or index.ndim != size:
                index, gone, new = Index(ndim=size, metric="cos", dtype="i8"), set(), set(documents)
            if gone:
                index.remove(list(gone))
            if len(new) >= _MANY:
                self._index.note(f"{len(new):,} embeddings are being added to the search index.")
            if new:
                elements = b"".join(bytes(searcher.doc(documents[key]).get_first("vector") or b"") for key in new)
                index.add(np.array(list(new), np.uint64), np.frombuffer(elements, np.int8).reshape(-1, size))
            self._save(path, index)
        return index

    def _save(self, path: Path, index: "Index") -> None:
        """Write the file, unless another process is changing the generation; then the next one that needs it does."""
        with suppress(OSError), self._index.changing():  # also filelock's Timeout
            for left in path.parent.glob(f".{path.name}.*"):
                left.unlink()
            content = bytes(index.save() or b"")
            replace_file(path, content + crc32(content).to_bytes(4, "little"))


def _read(path: Path, *, view: bool) -> "Index | None":
    from usearch.index import Index

    with (
        suppress(OSError, ValueError, RuntimeError),  # the last two are usearch's
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return Index.restore(str(path), view=view) if crc32(content) == _CRC_OF_INTACT else None
    return None


def _is_free_word(node: Node) -> bool:
    return isinstance(node, Words) and not node.field and not node.prefix


def without_words(node: Node) -> Node:
    """Return what a query requires besides its words without a field."""
    if _is_free_word(node):
        return EVERYTHING
    if not isinstance(node, And | Or):
        return node
    parts = tuple(map(without_words, node.parts))
    if isinstance(node, Or):
        return EVERYTHING if EVERYTHING in parts else Or(parts)
    return And(tuple(part for part in parts if part != EVERYTHING))
