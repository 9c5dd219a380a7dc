"""What tests of the search index share: looking into it, and changing the library."""

from __future__ import annotations

from pathlib import Path

from tantivy import Query

from vidpipe.library.library import Library
from vidpipe.search.documents import marked, term_path, text_path
from vidpipe.search.index import SearchIndex
from vidpipe.sources.records import SourceRecord, StoredVideo
from vidpipe_tests.library.sample_library import CONTENTS, sha256_of

HARBOUR, RACE = sha256_of("harbour.mp4"), sha256_of("race.mkv")


def found(index: SearchIndex, query: Query) -> set[str]:
    return {index.searcher.doc(address).get_first("video") for _, address in index.searcher.search(query, 1000).hits}


def labelled(index: SearchIndex, label: str) -> set[str]:
    return found(index, Query.term_query(index.schema, term_path("label"), marked(label)))


def saying(index: SearchIndex, field: str, word: str, language: str = "eng") -> set[str]:
    return found(index, Query.term_query(index.schema, text_path(field, language), word))


def count(index: SearchIndex, kind: str) -> int:
    return len(index.searcher.search(Query.term_query(index.schema, "kind", kind, "basic"), 1000).hits)


def label(library: Library, sha256: str, *labels: str) -> None:
    """Give a video further labels, as adding it again does."""
    name = next(name for name in CONTENTS if sha256_of(name) == sha256)
    url = f"https://other.example/{labels[0]}"
    record = SourceRecord(id=f"{sha256[:8]}{labels[0]}", url=url, state="stored", video=sha256, labels=labels)
    library.sources.record_stored(
        record, StoredVideo(sha256=sha256, path="x", size_bytes=1, modified_ns=1, file_name=name, url=url)
    )


def generations(library: Library) -> list[Path]:
    return [entry for entry in library.settings.index_directory.iterdir() if entry.is_dir()]


class Notes(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)
