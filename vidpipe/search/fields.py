"""The fields of the query language: those that stages declare, and those that the library itself answers."""

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from vidpipe.stages.analyses.results import FacesResult, MeaningResult, ObjectsResult, ScreenTextResult, SpeechResult
from vidpipe.stages.contract import INGEST, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.search_fields import Moment, SearchField
from vidpipe.stages.versions import fingerprint
from vidpipe.text.stems import LANGUAGES, folded, language_of

log = logging.getLogger(__name__)

#: Fields that the grammar resolves by itself.
STATE = "state"
SAVED = "saved"

#: vidpipe's own analyses with fields. These belong to every index, so that it need not be built again for processes
#: with other ones enabled.
_ANALYSES: dict[str, type[StageResult]] = {
    "speech": SpeechResult, "screen_text": ScreenTextResult, "objects": ObjectsResult, "faces": FacesResult,
    "meaning": MeaningResult,
}  # fmt: skip


@dataclass(frozen=True)
class _Declared:
    """A declaration, with the key of the result in a video's document that it reads."""

    field: SearchField
    key: str
    scenes: bool = False


def term_key(field: SearchField, name: str) -> str:
    """Return what a name of a term field is compared by, without case and accents.

    Raises:
        ValueError: No video can have it; the text says what is allowed.
    """
    return folded(field.key(name))


class Fields:
    """The fields of one library."""

    def __init__(self, graph: StageGraph) -> None:
        self._declared: list[_Declared] = []
        self._left_out: set[str] = set()
        stages = {stage: graph.result_model(stage) for stage in (INGEST, *graph.names)}
        enabled = {field.name for model in stages.values() for field in model.search_fields}
        #: Field -> the analysis that would fill it, were it enabled.
        self.unfilled: dict[str, str] = {}
        for stage, model in ({name: stages[name] for name in stages if name not in _ANALYSES} | _ANALYSES).items():
            key = stage if stage in _ANALYSES else graph.key(stage)
            for field in model.search_fields:
                self._declared.append(_Declared(field, key, bool(model.scene_fields)))
                if field.name not in enabled:
                    self.unfilled[field.name] = stage
        added = SearchField("added", "number", _added, "When it was added.", unit="date")
        self._declared.append(_Declared(added, ""))
        self._fields: dict[str, SearchField] = {}
        for declared in self._declared:
            known = self._fields.setdefault(declared.field.name, declared.field)
            if known.kind != declared.field.kind:
                raise ValueError(f"the search field {known.name} is declared as {known.kind} and {declared.field.kind}")
        vectors = {name: field for name, field in self._fields.items() if field.kind == "vector"}
        self._fields = {name: field for name, field in self._fields.items() if name not in vectors}
        #: Those of kind vector that are enabled, by name; they have no text form.
        self.vectors = {name: field for name, field in vectors.items() if name in enabled}

    def get(self, name: str) -> SearchField | None:
        """Return a field; of several declarations the first."""
        return self._fields.get(name)

    def __iter__(self) -> Iterator[SearchField]:
        return iter(self._fields.values())

    @cached_property
    def texts(self) -> dict[str, SearchField]:
        """The fields whose words can be searched, by name."""
        return {one.name: one for one in self if one.kind in ("text", "moments") or (one.kind == "term" and one.weight)}

    @cached_property
    def languages(self) -> dict[str, set[str]]:
        """The languages that a field's texts may have, by name of the declared fields."""
        found: dict[str, set[str]] = {}
        for field in (declared.field for declared in self._declared):
            stated = [language_of((), field.stated_language)] if field.stated_language else LANGUAGES
            found.setdefault(field.name, set()).update(stated)
        return found

    @cached_property
    def facets(self) -> tuple[str, ...]:
        """Names of the fields by whose values results are counted."""
        return tuple(field.name for field in self if field.facet)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of the fields that are compared."""
        return tuple(field.name for field in self if field.kind == "number")

    @property
    def version(self) -> str:
        """Hash of the declarations; an index of another version is built again."""
        ignored = {"values", "key", "help", "encode", "min_similarity"}
        declared = [
            (one.key, {name: value for name, value in vars(one.field).items() if name not in ignored})
            for one in self._declared
        ]
        return fingerprint(declared)

    def values(
        self, document: Mapping[str, Any], scenes: Sequence[Mapping[str, Any]] = (), only: Container[str] | None = None
    ) -> Iterator[tuple[SearchField, Iterable[Any]]]:
        """Yield each declared field of a stored video with its different values (embeddings: all), in order.

        A field that fails is left out.

        Args:
            document: The video's document.
            scenes: Its scenes' documents.
            only: Names of fields, without the others; None: all.
        """
        for declared in self._declared:
            field, result = declared.field, document.get(declared.key) if declared.key else document
            if result is None or (only is not None and field.name not in only):
                continue
            try:
                found = field.values({**result, "scenes": scenes} if declared.scenes else result)
                found = list(found) if field.kind == "vector" else dict.fromkeys(map(_READERS[field.kind], found))
                for name in found if field.kind == "term" else ():
                    term_key(field, name)
            except Exception:  # stored by another version, or a fault of the field: all others can be searched
                if field.name not in self._left_out:
                    self._left_out.add(field.name)
                    log.warning("search leaves out %s of video %s", field.name, document["_id"], exc_info=True)
                continue
            yield field, found  # each once: subtitles may be there in two formats


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _moment(value: Any) -> Moment:
    return Moment(float(value.start_s), float(value.end_s), _string(value.text), _string(value.language))


#: Kind -> what checks a value.
_READERS: dict[str, Callable[[Any], Any]] = {"text": _string, "term": _string, "number": float, "moments": _moment}


def _added(document: Mapping[str, Any]) -> Iterable[float]:
    at = document.get("added_at")
    return [at.timestamp()] if isinstance(at, datetime) else []
