"""What an optional analysis declares: its stage, and what its result adds to rules, prompts, lists and exports.

vidpipe's own analyses and plugins (entry points in the group `vidpipe.stages`) declare the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from vidpipe.errors import UnavailableError
from vidpipe.settings import Settings
from vidpipe.settings.operation import Section
from vidpipe.stages.contract import Stage, StageResource
from vidpipe.stages.search_fields import Moment
from vidpipe.tagging.fields import FIELD_NAMES, TEXTS, FieldSpec, Vocabulary


@dataclass(frozen=True)
class EvidenceText:
    """Words that an analysis found, with their times.

    Rules search them, the backend `statistics` and prompt templates quote them, and their meaning is embedded.

    Attributes:
        name: Name of the texts: "speech" is the block speech_keywords of rules and `video.speech` of templates.
        says: How evidence from it begins: "someone says".
        reads: The field it is in: "speech.segments".
        moments: The field's value -> its texts with their times.
    """

    name: str
    says: str
    reads: str
    moments: Callable[[Any], Iterable[Moment]]


@dataclass(frozen=True)
class RuleField:
    """A field that `metadata_conditions` of rules can check.

    Attributes:
        spec: Its name, kind and meaning.
        reads: The field of the result it is made from: "faces.count".
        value: The field's value -> what is compared; the value itself by default.
    """

    spec: FieldSpec
    reads: str
    value: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Column:
    """A column of exports with a type; a plain function in its place gives text.

    Attributes:
        kind: whole: an integer. texts: a list of strings.
        value: The stored result -> the value, or None.
    """

    kind: Literal["text", "texts", "number", "whole"]
    value: Callable[[Mapping[str, Any]], Any]

    def __call__(self, stored: Mapping[str, Any]) -> Any:
        """Return the value of a stored result."""
        return self.value(stored)


@dataclass(frozen=True)
class Analysis:
    """An optional stage and what it adds.

    Attributes:
        stage: The stage; `optional` is set. It runs after scenes (job prepare), or after sentiment (job label).
        settings: Its section of config.ini, if it is a plugin's: the class is called as the stage, LogoFinder for
            logo_finder, and the stage reads `context.settings.logo_finder`.
        resources: Name of each resource that only it declares -> what builds it. A missing model or package raises
            UnavailableError, whose hint is the one command that installs it.
        evidence: The texts it finds.
        rule_fields: The fields it adds to rules.
        columns: Columns of `vidpipe export`: name -> `Column`, or a function from the stored result to a text.
    """

    stage: Stage
    settings: type[Section] | None = None
    resources: Mapping[str, Callable[[Settings], StageResource]] = field(default_factory=dict)
    evidence: tuple[EvidenceText, ...] = ()
    rule_fields: tuple[RuleField, ...] = ()
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundText:
    """The texts of one `EvidenceText` in one video, in order of time."""

    name: str
    says: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class EnabledAnalyses:
    """The enabled analyses: the resource `analyses` of the stages that read what they found."""

    analyses: tuple[Analysis, ...] = ()
    #: Enabled plugins that cannot be used, and why.
    broken: Mapping[str, UnavailableError] = field(default_factory=dict)

    #: Raised when the same results give other texts or values.
    version = "1"

    def texts(self) -> Mapping[str, str]:
        """Return the texts for the lineage by their hash: none."""
        return {}

    @property
    def evidence(self) -> tuple[EvidenceText, ...]:
        """The texts that they find."""
        return tuple(evidence for analysis in self.analyses for evidence in analysis.evidence)

    @property
    def rule_fields(self) -> tuple[RuleField, ...]:
        """The fields that they add to rules."""
        return tuple(rule_field for analysis in self.analyses for rule_field in analysis.rule_fields)

    @cached_property
    def rule_fields_by_name(self) -> Mapping[str, RuleField]:
        """Name of a field of rules -> the field."""
        return {rule_field.spec.name: rule_field for rule_field in self.rule_fields}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What they add to the rule language besides what it knows anyway."""
        fields = (rule_field.spec for rule_field in self.rule_fields)
        texts = (evidence.name for evidence in self.evidence)
        return Vocabulary(
            tuple(spec for spec in fields if spec.name not in FIELD_NAMES),
            tuple(name for name in texts if name not in TEXTS),
        )

    def found(self, fields: Mapping[str, Any]) -> tuple[FoundText, ...]:
        """Return what was found in a video; texts whose analysis has no result, or found nothing, are left out.

        Args:
            fields: "stage.field" -> value; what is missing is not looked at.
        """
        found = []
        for evidence in self.evidence:
            value = fields.get(evidence.reads)
            moments = () if value is None else sorted(evidence.moments(value), key=lambda moment: moment.start_s)
            if moments:
                found.append(FoundText(evidence.name, evidence.says, tuple(moments)))
        return tuple(found)


NO_ANALYSES = EnabledAnalyses()


def found_texts(resources: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[FoundText, ...]:
    """Return what the enabled analyses found in a video, given the resources and fields of a stage that reads it."""
    enabled: EnabledAnalyses = resources.get("analyses", NO_ANALYSES)
    return enabled.found(fields)
