"""vidpipe explain: why a video has a tag or category, or does not."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, Video
from vidpipe.cli.output import note, out, print_json, words
from vidpipe.library.queries.explain import Reasons, TagReasons, reasons
from vidpipe.tagging.block import PartExplanation
from vidpipe.tagging.categories import SignalExplanation
from vidpipe.tagging.explanation import BlockExplanation
from vidpipe.text.messages import clock_time


def explain(
    context: typer.Context,
    video: Video,
    of_tag: Annotated[str | None, typer.Argument(metavar="TAG", help="Only this tag, also if it is not there.")] = None,
    *,
    tag: Annotated[str | None, typer.Option("--tag", help="The same as TAG.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Include rules and categories that did not match.")] = False,
    as_json: Json = False,
) -> None:
    """Explain why a tag or category was assigned, or why not.

    Shows what each rule requires and what was found in the video, using the current rules. For a tag that is not there,
    names the closest rule and what it lacks.
    """
    tag = tag or of_tag
    with open_library(context) as opened:
        sha256 = opened.library.videos.resolve(video)
        found = reasons(opened.library, sha256, opened.plan.specs, tag, category)
    if as_json:
        print_json(found.model_dump())
        return
    for one in found.tags:
        _show_tag(one)
    for span in found.scene_tags:
        times = ", ".join(f"{clock_time(start)} to {clock_time(end)}" for start, end in span.spans)
        out().print(words(f"scenes tagged {span.tag}, rule “{span.rule}”: {times}"), soft_wrap=True)
    _show(found, every=every or tag is not None or category is not None)
    if found.stored_are_out_of_date:
        note("The stored tags are out of date: rules or facts have changed. `vidpipe run` updates them.", "yellow")


def _show_tag(one: TagReasons) -> None:
    told = f"; verdicts on tags of this rule: {one.right} right, {one.wrong} wrong" if one.right or one.wrong else ""
    since = f"since {one.since:%Y-%m-%d %H:%M} UTC, rules version {one.rules_version[:8]}" if one.since else "given"
    nearest = f"closest rule “{one.rule}”" if one.rule else "no rule gives it"
    about = f"{since} by “{one.rule}”" if one.stored else f"not there; {nearest}"
    out().print(words(f"{one.tag}: ", "bold").append_text(words(about + told, "dim")), soft_wrap=True)
    for sentence in one.effects:
        out().print(words(f"    {sentence}"), soft_wrap=True)


def _show(found: Reasons, *, every: bool) -> None:
    console = out()
    rules = [rule for rule in found.rules if every or rule.matched]
    categories = [entry for entry in found.categories if every or entry.matched]
    for rule in sorted(rules, key=lambda one: -one.closeness):
        line = words(f"{_sign(rule.matched)} ", "green" if rule.matched else "red")
        line.append_text(words(", ".join((*rule.gives, *(f"not {tag}" for tag in rule.removes))), "bold"))
        line.append_text(words(f"  rule “{rule.rule}”, {rule.status}, condition: {rule.match}", "dim"))
        console.print(line, soft_wrap=True)
        matching = [scene for scene in rule.scenes if scene.matched]
        if rule.scenes:
            hold = ", ".join(f"{name}: {value}" for name, value in (rule.hold or {}).items() if value is not None)
            console.print(words(f"    {len(matching)} of {len(rule.scenes)} scenes match; hold: {hold or 'one'}"))
        _show_blocks((*rule.blocks, *rule.exclusions), found)
        for (value, matched), asked in _grouped(rule.lacking).items():
            what = "must not be" if matched else "lacks" if matched is False else "unknown"
            console.print(words(f"    → {what}: {asked}; {value}", "yellow"), soft_wrap=True)
    for entry in categories:
        line = words("✓ " if entry.matched else "✗ ", "green" if entry.matched else "red")
        line.append_text(words(f"category {f'{entry.parent} → ' if entry.parent else ''}{entry.category}", "bold"))
        margin = f", {entry.margin:+g} against {entry.rival}" if entry.rival else ""
        line.append_text(words(f"  score {entry.score:g}, minimum {entry.min_score:g}{margin}", "dim"))
        console.print(line, soft_wrap=True)
        _show_blocks(entry.blocks, found)
    if not rules and not categories:
        console.print("No rule or category matched; --all shows what each requires.")


def _sign(matched: bool | None) -> str:
    return "?" if matched is None else "✓" if matched else "✗"


def _show_blocks(blocks: Sequence[BlockExplanation], found: Reasons) -> None:
    console = out()
    for block in blocks:
        adds = f"  adds {block.contribution:g}" if isinstance(block, SignalExplanation) and block.matched else ""
        needs = f", needs {block.needs}" if len(block.parts) > 1 and block.needs != "1 of them" else ""
        console.print(words(f"    {_sign(block.matched)} {block.block}{adds}{needs}"), soft_wrap=True)
        for part in block.parts:
            if part.matched:
                text = f"        ✓ requires {part.asks}; found {part.found}{_by(part, found)}"
                console.print(words(text, "dim"), soft_wrap=True)
            for one in part.extracts:
                at = "" if one.start_s is None else f"{clock_time(one.start_s)} "
                console.print(words(f"            {at}… {one.before} [{one.found}] {one.after} …"), soft_wrap=True)
        for (value, matched), asked in _grouped(part for part in block.parts if not part.matched).items():
            console.print(words(f"        {_sign(matched)} requires {asked}; {value}", "dim"), soft_wrap=True)
        for name in dict.fromkeys(name for part in block.parts if not part.matched for name in part.unknown):
            console.print(words(f"        {name} is not known: {found.missing[name]}", "yellow"), soft_wrap=True)


def _grouped(parts: Iterable[PartExplanation]) -> dict[tuple[str, bool | None], str]:
    """Return what was asked by what was found and whether it matched: words that were not found share one line."""
    groups: dict[tuple[str, bool | None], dict[str, list[str]]] = {}
    for part in parts:
        found = part.found if part.found.startswith("not ") else f"found {part.found}"
        field, quote, word = part.asks.partition(' "')
        groups.setdefault((found, part.matched), {}).setdefault(field, []).append(quote + word)
    return {key: "; ".join(name + ",".join(asked) for name, asked in one.items()) for key, one in groups.items()}


def _by(part: PartExplanation, found: Reasons) -> str:
    made = found.made_by.get(part.field.partition(".")[0])
    return f", by {', '.join((*made['models'], *made['prompts'])[:3])}" if made and made["models"] else ""
