"""vidpipe explain: why a video has a tag or category, or does not."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import note, out, print_json, words
from vidpipe.errors import SettingsError
from vidpipe.library.queries.explain import reasons
from vidpipe.tagging.blocks import tag_key
from vidpipe.tagging.categories import CategoryExplanation
from vidpipe.tagging.rules import BlockExplanation, RuleExplanation


def explain(
    context: typer.Context,
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A hash prefix, URL or file name.")],
    *,
    tag: Annotated[str | None, typer.Option("--tag", help="Only rules that assign this tag.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Include rules and categories that did not match.")] = False,
    as_json: Json = False,
) -> None:
    """Explain why a tag or category was assigned, or why not.

    Shows what each rule requires and what was found in the video, using the current rules.
    """
    with open_library(context) as opened:
        sha256 = opened.library.videos.resolve(video)
        found = reasons(opened.library, sha256, opened.plan.specs)
    rules, categories = found.rules, found.categories
    if tag is not None or category is not None:
        rules = _of_tag(rules, tag) if tag is not None else []
        categories = _of_name(categories, category) if category is not None else []
    elif not every and not as_json:
        rules = [rule for rule in rules if rule.matched]
        categories = [entry for entry in categories if entry.matched]
    if as_json:
        print_json({
            "video": sha256, "rules": [rule.model_dump() for rule in rules],
            "categories": [entry.model_dump() for entry in categories],
            "stored_are_out_of_date": found.stored_are_out_of_date,
        })  # fmt: skip
        return
    _show(rules, categories)
    if found.stored_are_out_of_date:
        note("The stored tags are out of date: rules or facts have changed. `vidpipe run` updates them.", "yellow")


def _of_tag(rules: Sequence[RuleExplanation], tag: str) -> list[RuleExplanation]:
    found = [rule for rule in rules if tag_key(tag) in {tag_key(given) for given in rule.gives}]
    if not found:
        raise _unknown("rule assigns the tag", tag, (given for rule in rules for given in rule.gives))
    return found


def _of_name(categories: Sequence[CategoryExplanation], name: str) -> list[CategoryExplanation]:
    found = [entry for entry in categories if entry.category.casefold() == name.casefold()]
    if not found:
        raise _unknown("category is called", name, (entry.category for entry in categories))
    return found


def _unknown(what: str, name: str, known: Iterable[str]) -> SettingsError:
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(sorted(by_lower.values()))}."
    return SettingsError(f"No {what} '{name}'.", hint)


def _show(rules: Sequence[RuleExplanation], categories: Sequence[CategoryExplanation]) -> None:
    console = out()
    for rule in rules:
        line = words("✓ " if rule.matched else "✗ ", "green" if rule.matched else "red")
        line.append_text(words(", ".join(rule.gives), "bold"))
        line.append_text(words(f"  rule “{rule.rule}”, {_asks(rule)}", "dim"))
        console.print(line, soft_wrap=True)
        _show_blocks(rule.blocks)
    for entry in categories:
        line = words("✓ " if entry.matched else "✗ ", "green" if entry.matched else "red")
        line.append_text(words(f"category {entry.category}", "bold"))
        line.append_text(words(f"  score {entry.score:g}, minimum {entry.min_score:g}", "dim"))
        console.print(line, soft_wrap=True)
        _show_blocks(entry.blocks)
    if not rules and not categories:
        console.print("No rule or category matched; --all shows what each requires.")


def _asks(rule: RuleExplanation) -> str:
    if len(rule.blocks) < 2:
        return "one block"
    return "all blocks must match" if rule.match == "all" else "one matching block is enough"


def _show_blocks(blocks: Sequence[BlockExplanation]) -> None:
    console = out()
    for block in blocks:
        console.print(words(f"    {'✓' if block.matched else '✗'} {block.block}"), soft_wrap=True)
        for part in block.parts:
            if part.matched:
                console.print(words(f"        ✓ requires {part.asks}; found {part.found}", "dim"), soft_wrap=True)
        # Keywords that were not found share one line.
        missed: dict[str, list[str]] = {}
        for part in block.parts:
            if not part.matched:
                missed.setdefault(part.found, []).append(part.asks)
        for found, asked in missed.items():
            console.print(words(f"        ✗ requires {', '.join(asked)}; found {found}", "dim"), soft_wrap=True)
