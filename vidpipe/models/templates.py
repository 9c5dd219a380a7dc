"""The templates in rules/prompts/: read once, checked, and rendered within limits.

Jinja2's immutable sandbox protects the machine from a template, but not its time and memory: calls, macros, arithmetic
and joined texts can grow without limit. A prompt needs none of these, so they are rejected before the first rendering.
Nothing is escaped: untrusted text is cleaned before a template sees it (`prompt_context`).
"""

import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vidpipe.errors import SettingsError
from vidpipe.models.prompts import TEMPLATE_FIELDS
from vidpipe.models.template_files import MAX_SOURCE, find_template
from vidpipe.settings import Settings
from vidpipe.tagging.rule_files import read_text
from vidpipe.text.messages import did_you_mean, find_control_token

FILTERS = (
    "capitalize", "count", "d", "default", "first", "int", "join", "last", "length", "list", "lower", "reverse",
    "round", "sort", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.If, nodes.For, nodes.Include, nodes.Assign, nodes.CondExpr, nodes.Filter, nodes.Test,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.List, nodes.Tuple, nodes.Keyword,
)  # fmt: skip
_NODE_NAMES = {
    nodes.Call: "a call", nodes.Macro: "a macro", nodes.Concat: "the operator ~", nodes.Import: "an import",
    nodes.FromImport: "an import", nodes.Extends: "extends", nodes.Block: "a block", nodes.Mul: "the operator *",
    nodes.Add: "the operator +", nodes.Pow: "the operator **", nodes.AssignBlock: "a set over several lines",
    nodes.FilterBlock: "a filter block", nodes.Dict: "a dictionary",
}  # fmt: skip


_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}\.j2")
#: Characters of a rendered text. Qwen2-VL's context window is 32,768 tokens, frames included.
_MAX_TEXT = 60_000
#: Includes of one template, direct and indirect.
_MAX_INCLUDED = 20
_FAULTS = (
    TemplateError, SyntaxError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError,
)  # fmt: skip


def _check_template(tree: nodes.Template, shown: str, evidence: Collection[str]) -> None:
    """Check what a template contains.

    Args:
        tree: The parsed template.
        shown: What error messages call it.
        evidence: Names of the texts of analyses, which are fields of videos and scenes.

    Raises:
        SettingsError: It contains something that is not allowed, or uses a field that does not exist; the message
            names file and line.
    """
    for node, loops in _walk(tree, 0):
        where = f"{shown}, line {node.lineno}"
        if not isinstance(node, _ALLOWED):
            raise SettingsError(
                f"{where}: {_NODE_NAMES.get(type(node), type(node).__name__.lower())} is not allowed in prompts.",
                "Templates may use variables, if, for, set, include, comparisons and filters.",
            )
        if _holds_variables(node):
            raise SettingsError(f"{where}: lists in templates may contain constants only, no variables.")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise SettingsError(
                f'{where}: unknown filter "{node.name}"{did_you_mean(node.name, FILTERS)}',
                f"Available filters: {', '.join(FILTERS)}.",
            )
        if isinstance(node, nodes.Include):
            _check_include(node, where, loops)
        if loops > 1:
            raise SettingsError(f"{where}: loops cannot be nested.")
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            fields = TEMPLATE_FIELDS.get(node.node.name)
            if fields and node.attr not in (*fields, *evidence):
                raise SettingsError(
                    f'{where}: {node.node.name} has no "{node.attr}"{_or_stop(node.attr, fields)}',
                    f"There are {', '.join(fields)}.",
                )


def _check_names(tree: nodes.Template, undeclared: Collection[str], known: Collection[str], shown: str) -> None:
    """Raise SettingsError if a template uses a variable that it is not given."""
    for node in tree.find_all(nodes.Name):
        if node.name in (*undeclared, "self") and node.name not in known:
            raise SettingsError(
                f'{shown}, line {node.lineno}: unknown variable "{node.name}"{_or_stop(node.name, known)}',
                f"Variables of this template: {', '.join(sorted(known))}.",
            )


def _holds_variables(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Tuple) and node.ctx != "load":  # for a, b in ...
        return False
    return isinstance(node, nodes.List | nodes.Tuple) and any(not isinstance(item, nodes.Const) for item in node.items)


def _or_stop(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known) or "."


def _check_include(node: nodes.Include, where: str, loops: int) -> None:
    if not isinstance(node.template, nodes.Const) or not isinstance(node.template.value, str):
        raise SettingsError(f'{where}: include takes one quoted file name: {{% include "context.j2" %}}.')
    if loops:
        raise SettingsError(f"{where}: include is not allowed in a loop.")


def _walk(node: nodes.Node, loops: int) -> Iterator[tuple[nodes.Node, int]]:
    """Yield every node with the number of loops around it."""
    yield node, loops
    for child in node.iter_child_nodes():
        yield from _walk(child, loops + isinstance(child, nodes.For))


@dataclass(frozen=True)
class Templates:
    """Checked templates.

    Attributes:
        sources: File name -> text.
        shown: File name -> what error messages call it.
    """

    sources: Mapping[str, str]
    shown: Mapping[str, str]
    _environment: ImmutableSandboxedEnvironment = field(repr=False, compare=False)

    def sources_of(self, name: str) -> dict[str, str]:
        """Return the text of a template and of everything that it includes, by file name."""
        found: dict[str, str] = {}
        waiting = [name]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found[file] = self.sources[file]
                waiting += _included(self._environment, self.sources[file])
        return dict(sorted(found.items()))

    def used(self, name: str, known: Collection[str]) -> set[str]:
        """Return the variables that a template and its includes use. Raises SettingsError for one not in `known`."""
        used: set[str] = set()
        for file, source in self.sources_of(name).items():
            tree = self._environment.parse(source)
            undeclared = meta.find_undeclared_variables(tree)
            _check_names(tree, undeclared, known, self.shown[file])
            used |= undeclared
        return used

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """Return the rendered text.

        Raises:
            SettingsError: It fails, or renders more text than a model takes; the message names file and line.
        """
        parts: list[str] = []
        length = 0
        try:
            for part in self._environment.get_template(name).generate(variables):
                parts.append(part)
                length += len(part)
                if length > _MAX_TEXT:
                    raise SettingsError(f"{self.shown[name]} renders more than {_MAX_TEXT:,} characters.")
        except _FAULTS as error:
            raise self._fault(name, error) from None
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in "".join(parts).splitlines())).strip()
        if found := find_control_token(text):
            raise SettingsError(
                f"{self.shown[name]} renders {found}, a control token of chat models.",
                "Remove it from the template, the question or the keywords.",
            )
        return text

    def _fault(self, name: str, error: Exception) -> SettingsError:
        frames = traceback.extract_tb(sys.exc_info()[2])
        frame = next((frame for frame in reversed(frames) if frame.filename in self.sources), None)
        place = f"{self.shown[frame.filename]}, line {frame.lineno}" if frame else self.shown[name]
        if str(error).startswith("'None' has no attribute"):
            return SettingsError(
                f"{place}: prompts about a whole video have no scene.",
                "Put {% if scene %} and {% endif %} around it.",
            )
        known = [entry for entries in TEMPLATE_FIELDS.values() for entry in entries]
        if missing := re.search(r"has no attribute '(\w+)'", str(error)):
            return SettingsError(
                f'{place}: unknown field "{missing[1]}"{did_you_mean(missing[1], known) or "."}',
                f"Fields of videos and scenes: {', '.join(known)}.",
            )
        return SettingsError(f"{place}: {str(error).rstrip('.') or type(error).__name__}.")


def load_templates(settings: Settings, names: Iterable[str], evidence: Collection[str] = ()) -> Templates:
    """Load templates and what they include from the folder of [Rules] Prompts, and missing ones from the defaults.

    Args:
        settings: The settings.
        names: File names of the templates.
        evidence: Names of the texts of analyses that they may use besides vidpipe's own.

    Raises:
        SettingsError: A file is missing or cannot be used.
    """
    named = settings.rules.prompts
    folder = settings.resolve(named)
    if not folder.is_dir() and named != type(settings.rules).model_fields["prompts"].default:
        raise SettingsError(
            f"{named.as_posix()} is not a folder; [Rules] Prompts in config.ini names it.",
            "Create it, or leave the key empty for rules/prompts. Missing files are taken from the defaults.",
        )
    environment = _environment()
    sources: dict[str, str] = {}
    shown: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        file = waiting.pop()
        if file in sources:
            continue
        path = find_template(settings, file)
        shown[file] = f"{named.as_posix()}/{file}" if path.parent == folder else f"{file} of the defaults"
        sources[file] = read_text(path, shown[file], "Prompts")
        if len(sources[file]) > MAX_SOURCE:
            raise SettingsError(f"{shown[file]} has more than {MAX_SOURCE:,} characters.")
        for name in _checked_includes(environment, file, sources[file], shown[file], evidence):
            if not find_template(settings, name).is_file():
                raise SettingsError(f'{shown[file]} includes "{name}", which does not exist.', f"Put it into {folder}.")
            waiting.append(name)
    for file in sources:
        _check_included(environment, sources, shown, file)
    environment.loader = FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None)
    return Templates(sources, shown, environment)


def _environment() -> ImmutableSandboxedEnvironment:
    # Prompts are plain text for a model, not HTML: escaping would put &amp; into them.
    environment = ImmutableSandboxedEnvironment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters |= {"join": _join, "round": _round}
    environment.globals = {}
    return environment


def _join(values: Iterable[Any], between: str = ", ") -> str:
    """Join like Jinja, with a limit: joins of joins grow fast."""
    parts: list[str] = []
    length = 0
    for value in values:
        parts.append(str(value))
        length += len(parts[-1]) + len(between)
        if length > _MAX_TEXT:
            raise ValueError(f"join makes more than {_MAX_TEXT:,} characters")
    return between.join(parts)


def _round(value: float, digits: int = 0) -> float:
    """Round like Jinja, which would compute any power of ten."""
    return round(value, max(-9, min(9, digits)))


def _checked_includes(
    environment: ImmutableSandboxedEnvironment, file: str, source: str, shown: str, evidence: Collection[str]
) -> list[str]:
    """Return the files that a template includes, after checking it. Raises SettingsError."""
    try:
        _check_template(environment.parse(source, file, file), shown, evidence)
    except TemplateSyntaxError as error:
        raise SettingsError(f"{shown}, line {error.lineno}: {str(error.message).rstrip('.')}.") from None
    except RecursionError:
        raise SettingsError(f"{shown} is nested too deeply.") from None
    included = _included(environment, source)
    for name in included:
        if not _NAME.fullmatch(name):
            raise SettingsError(f'{shown} includes "{name}"; a name has letters, digits, - and _, and ends in .j2.')
    return included


def _included(environment: ImmutableSandboxedEnvironment, source: str) -> list[str]:
    return [name for name in meta.find_referenced_templates(environment.parse(source)) if name]


def _check_included(
    environment: ImmutableSandboxedEnvironment, sources: Mapping[str, str], shown: Mapping[str, str], file: str
) -> None:
    """Raise SettingsError if `file` includes itself or too many files."""
    visits = 0

    def visit(name: str, above: tuple[str, ...]) -> None:
        nonlocal visits
        visits += 1
        if name in above:
            raise SettingsError(f"{shown[name]} includes itself, through {' and '.join(above[above.index(name) :])}.")
        if visits > _MAX_INCLUDED:
            raise SettingsError(f"{shown[file]} includes more than {_MAX_INCLUDED} files, repeated ones included.")
        for included in _included(environment, sources[name]):
            visit(included, (*above, name))

    visit(file, ())
