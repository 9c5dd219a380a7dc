"""What is indexed of a video: one document for the whole with all its texts, one for each moment and embedding.

A query is answered by the videos' documents, so that its words may be spread over a video. The moments' documents tell
where in it they are.
"""

import json
import logging
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256 as sha256_hash
from typing import Any

from tantivy import Document, Index, Schema, SchemaBuilder

from vidpipe.library.videos import name_of
from vidpipe.search.fields import Fields, term_key
from vidpipe.stages.search_fields import Embedding, Moment, SearchField
from vidpipe.text.stems import LANGUAGES, PLAIN, analyzer, language_of, tokens
from vidpipe.text.words import search_forms

log = logging.getLogger(__name__)

#: Raised whenever documents are made in another way; an index of another version is built again.
VERSION = 5
VIDEO, TIMED, MOMENT = "video", "timed", "moment"
#: Before every name, so that tantivy does not read some of them as dates.
_MARK = "="
#: tantivy's limit is 65,530 bytes.
_LONGEST_NAME = 1000
#: Letters of the words that are completed.
_COMPLETED = range(3, 31)


def text_path(field: str, language: str) -> str:
    """Return where the words of a field are indexed."""
    return f"text_{language}.{field}"


def moment_path(field: str, language: str) -> str:
    """Return where the words of a moment are indexed: apart, because there are many times as many as videos."""
    return f"moment_{language}.{field}"


def term_path(field: str) -> str:
    """Return where the keys of a field's names are indexed."""
    return f"terms.{field}"


def facet_path(field: str) -> str:
    """Return where a field's names are counted."""
    return f"facets.{field}"


def number_path(field: str) -> str:
    """Return where a field's number is indexed."""
    return f"number_{field}"


def marked(name: str) -> str:
    """Return a name or key as it is indexed."""
    return _MARK + name[:_LONGEST_NAME]


def unmarked(name: str) -> str:
    """Return a name as it was before `marked`."""
    return name.removeprefix(_MARK)


def embedding_kind(field: str, size: int) -> str:
    """Return the `kind` of the embeddings of a field whose vectors have `size` elements."""
    return f"embedding.{field}.{size}"


def quantized(vector: Sequence[float]) -> bytes:
    """Return the direction of a vector as int8 (the largest element is ±127); empty if it has none."""
    largest = max(map(abs, vector), default=0.0)
    if not largest or not all(map(math.isfinite, vector)):
        return b""
    return array("b", (round(127 * (element / largest)) for element in vector)).tobytes()


def id_head(sha256: str) -> int:
    """Return the number in the column `id_head`: the first 64 bits of a video's hash."""
    return int(sha256[:16], 16)


def schema(fields: Fields) -> Schema:
    """Return the columns of the index.

    video           the video's sha256
    kind            VIDEO, and of a video with moments TIMED, too; MOMENT; or an `embedding_kind`
    id_head         of a video: first 64 bits of the sha256, which can be read and searched for many documents at once
    change_seq      of the video's document when it was read
    text_<language> JSON: field -> its texts in that language
    moment_<language>  likewise of a moment
    words           of a video: the different words, not reduced to stems, that a query without a field finds
    languages       languages of the texts
    terms           JSON: field -> keys of its names
    facets          JSON: field -> its names as written
    number_<field>  its number
    name            the name by which videos are ordered
    moment          JSON: field, start_s and end_s of a moment or embedding; its text, and of a moment also language
    vector          of an embedding: `quantized`
    vector_key      hash of the embedding's video, field, place and vector
    """
    builder = SchemaBuilder()
    builder.add_text_field("video", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("kind", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("id_head", fast=True, indexed=True)
    builder.add_unsigned_field("change_seq", fast=True, indexed=True)
    for language in LANGUAGES:
        builder.add_json_field(f"text_{language}", tokenizer_name=language)
        builder.add_json_field(f"moment_{language}", tokenizer_name=language)
    builder.add_text_field("words", tokenizer_name=PLAIN, index_option="basic")
    builder.add_text_field("languages", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_json_field("terms", tokenizer_name="raw", index_option="basic")
    builder.add_json_field("facets", tokenizer_name="raw", index_option="basic", fast=True)
    for name in fields.numbers:
        builder.add_float_field(number_path(name), fast=True, indexed=True)
    builder.add_text_field("name", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_bytes_field("moment", stored=True)
    builder.add_bytes_field("vector", stored=True)
    builder.add_unsigned_field("vector_key", fast=True, indexed=True)
    return builder.build()


def register_analyzers(index: Index) -> None:
    """Tell an open index how texts are analyzed."""
    for language in LANGUAGES:
        index.register_tokenizer(language, analyzer(language))


def documents(
    fields: Fields,
    video: Mapping[str, Any],
    scenes: Sequence[Mapping[str, Any]] = (),
    sources: Iterable[str] = (),
) -> Iterator[Document]:
    """Yield the index documents of a video: the video's, then those of its moments and embeddings.

    Args:
        fields: The fields of the library.
        video: The video's document in MongoDB.
        scenes: Its scenes' documents.
        sources: URLs and file names of its sources that do not fit into the document.
    """
    sha256: str = video["_id"]
    texts: dict[str, dict[str, list[str]]] = {}
    terms: dict[str, list[str]] = {}
    facets: dict[str, dict[str, None]] = {}
    numbers: dict[str, float] = {}
    moments: list[Document] = []
    embeddings: dict[int, Document] = {}
    for field, values in fields.values(video, scenes):
        if field.kind == "number":
            for value in values:
                numbers[field.name] = value
            continue
        if field.kind == "vector":
            embeddings.update(_embeddings(sha256, field.name, values))
            continue
        found = list(values)
        if not found:
            continue
        if field.kind == "moments":
            for language, moment in _in_languages(found):
                words = " ".join(tokens(moment.text))
                texts.setdefault(language, {}).setdefault(field.name, []).append(words)
                moments.append(_moment(sha256, field, moment, language, words))
            continue
        if field.kind == "term":
            terms.setdefault(field.name, []).extend(marked(term_key(field, name)) for name in found)
            if field.facet:
                facets.setdefault(field.name, {}).update(dict.fromkeys(map(marked, found)))  # each is counted once
        if field.name in fields.texts:
            written = [*found, *sources] if field.name == "source" else found
            of_language = texts.setdefault(language_of(written, field.stated_language), {})
            of_language.setdefault(field.name, []).extend(" ".join(tokens(text)) for text in _forms(field, written))
    document = Document(kind=[VIDEO, TIMED] if moments else [VIDEO])
    document.add_text("video", sha256)
    document.add_unsigned("id_head", id_head(sha256))
    document.add_unsigned("change_seq", int(video.get("change_seq") or 0))
    for language, by_field in texts.items():
        document.add_json(f"text_{language}", by_field)
        document.add_text("languages", language)
    document.add_text("words", " ".join(_words(fields, texts)))
    document.add_json("terms", terms)
    document.add_json("facets", {name: list(values) for name, values in facets.items()})
    for name, number in numbers.items():
        document.add_float(number_path(name), number)
    document.add_text("name", " ".join(tokens(name_of(video)))[:_LONGEST_NAME])
    yield document
    yield from moments
    yield from embeddings.values()


def _words(fields: Fields, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> set[str]:
    searched = {name for name, field in fields.texts.items() if field.weight}
    found = {
        word
        for of_field in texts.values()
        for name in searched & of_field.keys()
        for word in " ".join(of_field[name]).split()
    }
    return {word for word in found if len(word) in _COMPLETED and not word.isdigit()}


def moment_of(document: Document) -> dict[str, Any]:
    """Return `video` of a moment's or embedding's document, and what its column `moment` contains."""
    moment: dict[str, Any] = json.loads(bytes(document.get_first("moment") or b"{}"))
    return {"video": document.get_first("video"), **moment}


def _moment(sha256: str, field: SearchField, moment: Moment, language: str, words: str) -> Document:
    document = Document()
    document.add_text("video", sha256)
    document.add_text("kind", MOMENT)
    document.add_json(f"moment_{language}", {field.name: [words]})
    stored = {
        "field": field.name, "language": language, "start_s": moment.start_s, "end_s": moment.end_s,
        "text": moment.text,
    }  # fmt: skip
    document.add_bytes("moment", json.dumps(stored).encode())
    return document


def _embeddings(sha256: str, field: str, embeddings: Iterable[Embedding]) -> Iterator[tuple[int, Document]]:
    for vector, start_s, end_s, text in embeddings:
        if not (elements := quantized(vector)):
            log.warning("%s is not searched by %s at %s s: the vector is 0 or not finite", sha256[:12], field, start_s)
            continue
        stored = json.dumps({"field": field, "start_s": start_s, "end_s": end_s, "text": text}).encode()
        key = int.from_bytes(sha256_hash(sha256.encode() + stored + elements).digest()[:8]) >> 1
        document = Document()
        document.add_text("video", sha256)
        document.add_text("kind", embedding_kind(field, len(elements)))
        document.add_bytes("moment", stored)
        document.add_bytes("vector", elements)
        document.add_unsigned("vector_key", key)
        yield key, document


def _in_languages(moments: Sequence[Moment]) -> Iterator[tuple[str, Moment]]:
    """Yield moments with their language, detected once for all that state the same one."""
    found: dict[str, str] = {}
    for moment in moments:
        if moment.language not in found:
            same = (other.text for other in moments if other.language == moment.language)
            found[moment.language] = language_of(same, moment.language)
        yield found[moment.language], moment


def _forms(field: SearchField, texts: Sequence[str]) -> Iterable[str]:
    if not field.compound:
        return texts
    return (*texts, *(search_forms((), texts) if field.name == "file" else search_forms(texts)))
