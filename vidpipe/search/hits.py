"""What is shown of the videos found: their summaries, and where they match."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product

from vidpipe.library.library import Library
from vidpipe.library.queries.show import SUMMARY_FIELDS, summary
from vidpipe.library.schema import Document
from vidpipe.library.states import CLASSIFIED_BY
from vidpipe.library.videos import chunked
from vidpipe.search.documents import moment_of
from vidpipe.search.matching import MatchedText, Matcher
from vidpipe.search.pages import Cursor, Row
from vidpipe.search.query import Node, wanted
from vidpipe.search.translation import Translation
from vidpipe.text.stems import language_of

#: Matches of a hit.
_MOST_MATCHES = 5
#: Videos that are read at once.
_AT_ONCE = 100
#: Moments of each video, on average, that are found so that each has its best ones.
_MOST_FOUND = 50
#: Moments of a video that are listed.
_MOST_LISTED = 10_000
#: Left out of a video's document: moments and embeddings are in the index.
UNREAD = {
    "metadata.cues": 0, "description.answers": 0, "meaning": 0, "objects.frames": 0, "faces.frames": 0,
    "speech.segments": 0, "screen_text.entries": 0,
}  # fmt: skip


class Hits:
    """Reads the videos found from the library; those that are deleted by now are left out.

    Args:
        library: The library.
        specs: Today's spec of each stage that can run.
        translation: The state of the index that found them.
        node: The query that did.
        scored: Whether they are ordered by relevance.
        nearest: Places of videos that were found by meaning.
    """

    def __init__(
        self,
        library: Library,
        specs: Mapping[str, str],
        translation: Translation,
        node: Node,
        *,
        scored: bool,
        nearest: Mapping[str, MatchedText],
    ) -> None:
        self._library = library
        self._specs = specs
        self._translation = translation
        self._node = node
        self._scored = scored
        self._nearest = nearest
        self._has_words = not nearest and any(True for _ in wanted(node))
        self._matcher = Matcher(wanted(node))
        known, kinds = translation.fields, ("text", "term")
        self._texts = {one.name for one in known if one.kind in kinds and self._matcher.concerns(one)}

    def videos(self, rows: Sequence[Row]) -> Iterator[Document]:
        """Yield a hit for each video, in order."""
        for found in self._read(rows, texts=self._has_words):
            moments = self._best_moments(list(found))
            for sha256, (row, document) in found.items():
                nearest = filter(None, [self._nearest.get(sha256)])
                matches = [*nearest, *self._in_video(document), *moments.get(sha256, ())]
                matches.sort(key=lambda match: match.rank)
                yield self._hit(row, document, matches[:_MOST_MATCHES])

    def moments(self, rows: Sequence[Row], cursor: Cursor, limit: int) -> tuple[list[Document], Cursor, bool]:
        """Return a hit for each moment, in order; the cursor of what follows; and whether these are all of `rows`.

        Args:
            rows: The videos.
            cursor: Where the page begins.
            limit: Most hits; 0 for all.
        """
        hits: list[Document] = []
        for found in self._read(rows, texts=False):
            for sha256, (row, document) in found.items():
                nearest = self._nearest.get(sha256)
                moments = [asdict(nearest)] if nearest else self._moments_of(sha256)
                first = cursor.moments if cursor.begins_with(row) else 0
                end = first + limit - len(hits) if limit else len(moments)
                for moment in moments[first:end]:
                    whole = MatchedText(moment["field"], moment["text"], (), moment["start_s"], moment["end_s"])
                    hits.append(self._hit(row, document, [self._match(moment) or whole]))
                if end < len(moments):
                    return hits, replace(cursor.after(row, 0), moments=end) if end else cursor, False
                cursor = cursor.after(row)
        if rows:  # the last ones may have been deleted meanwhile
            cursor = cursor.after(rows[-1], 0)
        return hits, cursor, True

    def _read(self, rows: Sequence[Row], *, texts: bool) -> Iterator[dict[str, tuple[Row, Document]]]:
        videos, states = self._library.collections["videos"], product(self._specs, CLASSIFIED_BY)
        fields = dict.fromkeys((*SUMMARY_FIELDS, *(f"stages.{stage}.{name}" for stage, name in states)), 1)
        for chunk in chunked(rows, _AT_ONCE):
            ids = [str(self._translation.searcher.doc(row.address).get_first("video")) for row in chunk]
            by_id = {document["_id"]: document for document in videos.find({"_id": {"$in": ids}}, fields)}
            # MongoDB cannot name what it returns of `stages` and what it leaves out of the rest in one projection.
            for document in videos.find({"_id": {"$in": list(by_id)}}, {**UNREAD, "stages": 0}) if texts else ():
                by_id[document["_id"]] |= document
            yield {sha256: (row, by_id[sha256]) for sha256, row in zip(ids, chunk, strict=True) if sha256 in by_id}

    def _hit(self, row: Row, document: Document, matches: Sequence[MatchedText]) -> Document:
        shown = [_shown(match) for match in matches]
        score = round(-row.rank[1], 6) if self._scored else None
        return {**summary(document, self._specs), "score": score, **(shown[0] if shown else _NOTHING), "matches": shown}

    def _in_video(self, document: Document) -> Iterator[MatchedText]:
        for field, values in self._translation.fields.values(document, only=self._texts) if self._has_words else ():
            texts = list(values)
            language = language_of(texts, field.stated_language)
            yield from filter(None, (self._matcher.match(field, text, language) for text in texts))

    def _best_moments(self, ids: Sequence[str]) -> dict[str, list[MatchedText]]:
        # All may have been deleted meanwhile.
        if not ids or not self._has_words or not self._translation.has_moments(self._node):
            return {}
        found = self._find_moments(ids, _MOST_FOUND * len(ids))
        if sum(map(len, found.values())) == _MOST_FOUND * len(ids):  # a few videos may have displaced the others
            for sha256 in ids:
                found.setdefault(sha256, self._find_moments([sha256], _MOST_FOUND)[sha256])
        return {
            sha256: [match for one in moments[:_MOST_MATCHES] if (match := self._match(one))]
            for sha256, moments in found.items()
        }

    def _moments_of(self, sha256: str) -> list[Document]:
        """Return the moments with all wanted words, else those with any, by time."""
        moments = (
            self._find_moments([sha256], _MOST_LISTED, together=True)[sha256]
            or self._find_moments([sha256], _MOST_LISTED)[sha256]
        )
        return sorted(moments, key=lambda moment: (moment["start_s"], moment["end_s"], moment["field"]))

    def _find_moments(
        self, ids: Sequence[str], limit: int, *, together: bool = False
    ) -> defaultdict[str, list[Document]]:
        """Return video -> its moments, best first, of equally good ones the earliest."""
        searcher = self._translation.searcher
        query = self._translation.moments(self._node, ids, together=together)
        hits = searcher.search(query, limit, False).hits
        scored = [(score, moment_of(searcher.doc(address))) for score, address in hits]
        found: defaultdict[str, list[Document]] = defaultdict(list)
        for _, moment in sorted(scored, key=lambda one: (-one[0], one[1]["start_s"])):
            found[moment["video"]].append(moment)
        return found

    def _match(self, moment: Document) -> MatchedText | None:
        field = self._translation.fields.get(moment["field"])
        place = (moment["start_s"], moment["end_s"])
        return self._matcher.match(field, moment["text"], moment["language"], *place) if field else None


def _shown(match: MatchedText) -> Document:
    return {
        "matched_in": match.field, "start_s": match.start_s, "end_s": match.end_s, "text": match.text,
        "highlights": [list(place) for place in match.highlights],
    }  # fmt: skip


_NOTHING: Document = {"matched_in": None, "start_s": None, "end_s": None, "text": None, "highlights": []}
