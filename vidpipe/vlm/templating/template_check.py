"""What a template may hold, checked before it is ever rendered.

Jinja's sandbox keeps a template from the machine, but not from using up its time and memory: calls, macros, arithmetic
and joined texts can grow without end, in a loop or in a few lines that double each other. A prompt needs none of
these, so there are none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from jinja2 import nodes

from vidpipe.errors import SettingsError
from vidpipe.tagging.conditions import did_you_mean

FILTERS = (
    "capitalize", "count", "d", "default", "first", "int", "join", "last", "length", "list", "lower", "reverse",
    "round", "sort", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip

_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.If, nodes.For, nodes.Include, nodes.Assign, nodes.CondExpr, nodes.Filter, nodes.Test,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.List, nodes.Tuple, nodes.Keyword,
)  # fmt: skip
_CALLED = {
    nodes.Call: "a call", nodes.Macro: "a macro", nodes.Concat: "the operator ~", nodes.Import: "an import",
    nodes.FromImport: "an import", nodes.Extends: "extends", nodes.Block: "a block", nodes.Mul: "the operator *",
    nodes.Add: "the operator +", nodes.Pow: "the operator **", nodes.AssignBlock: "a set over several lines",
    nodes.FilterBlock: "a filter block", nodes.Dict: "a dictionary",
}  # fmt: skip


def check_template(tree: nodes.Template, shown: str, fields: Mapping[str, Collection[str]]) -> None:
    """Raises SettingsError, with file and line, for what a template may not hold, and for a field of a variable that
    does not exist. fields: variable -> its fields."""
    for node, loops in _walk(tree, 0):
        where = f"{shown}, line {node.lineno}"
        if not isinstance(node, _ALLOWED):
            raise SettingsError(
                f"{where}: {_CALLED.get(type(node), type(node).__name__.lower())} has no place in a prompt's template.",
                "Templates take variables, if, for, set, include, comparisons and filters.",
            )
        if _holds_variables(node):
            raise SettingsError(f"{where}: a list in a template holds plain values only, no variables.")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise SettingsError(
                f'{where}: there is no filter "{node.name}" here{did_you_mean(node.name, FILTERS)}',
                f"Filters are {', '.join(FILTERS)}.",
            )
        if isinstance(node, nodes.Include):
            _check_include(node, where, loops)
        if loops > 1:
            raise SettingsError(f"{where}: a loop has no place in a loop.")
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name in fields:
            check_field(node.attr, fields[node.node.name], f"{where}: {node.node.name}")


def check_field(name: str, known: Collection[str], where: str) -> None:
    """Raises SettingsError where `name` is not among `known`."""
    if name not in known:
        raise SettingsError(f'{where} has no "{name}"{_or_stop(name, known)}', f"There are {', '.join(known)}.")


def check_names(tree: nodes.Template, undeclared: Collection[str], known: Collection[str], shown: str) -> None:
    """Raises SettingsError where a template uses a variable that it is not given."""
    for node in tree.find_all(nodes.Name):
        if node.name in (*undeclared, "self") and node.name not in known:
            raise SettingsError(
                f'{shown}, line {node.lineno}: there is no variable "{node.name}" here{_or_stop(node.name, known)}',
                f"This template is given {', '.join(sorted(known))}.",
            )


def _holds_variables(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Tuple) and node.ctx != "load":  # for a, b in ...
        return False
    return isinstance(node, nodes.List | nodes.Tuple) and any(not isinstance(item, nodes.Const) for item in node.items)


def _or_stop(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known) or "."


def _check_include(node: nodes.Include, where: str, loops: int) -> None:
    if not isinstance(node.template, nodes.Const) or not isinstance(node.template.value, str):
        raise SettingsError(f'{where}: an include names one file, in quotation marks: {{% include "context.j2" %}}.')
    if loops:
        raise SettingsError(f"{where}: an include has no place in a loop.")


def _walk(node: nodes.Node, loops: int) -> Iterator[tuple[nodes.Node, int]]:
    """Every node, and in how many loops it stands."""
    yield node, loops
    for child in node.iter_child_nodes():
        yield from _walk(child, loops + isinstance(child, nodes.For))
