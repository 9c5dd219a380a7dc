"""vidpipe rules: plan changes of rules, apply and undo them, and look at earlier versions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from vidpipe.cli.confirmation import confirm
from vidpipe.cli.context import OpenLibrary, open_library
from vidpipe.cli.options import Json, Yes
from vidpipe.cli.output import clean, counted, note, out, print_json, say, table, words
from vidpipe.cli.rules_check import DraftFiles, read_drafts
from vidpipe.cli.run import run_and_show
from vidpipe.errors import SettingsError
from vidpipe.library.rule_history import RuleVersion, rule_version, rule_versions, text_diff, texts_of
from vidpipe.runner.rule_changes import ProposedRules, edits_wait, parsed_rules
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings
from vidpipe.tagging.comparison import compare

_Version = Annotated[int, typer.Argument(metavar="VERSION", help="See `vidpipe rules history`.")]
_MOST_SHOWN = 40
_CHANGES = ("gain", "lose", "videos")


def plan(
    context: typer.Context,
    files: DraftFiles = None,
    *,
    from_search: Annotated[
        str | None, typer.Option("--from-search", metavar="QUERY", help="Plan a rule that asks for the same.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="With --from-search: write the draft here.")] = None,
    as_json: Json = False,
) -> None:
    """Show what rules would do to the library before they are applied.

    Rules of a draft replace those of the same id (in the short form: name), categories those of the same name; others
    are added. Nothing is written and no model is called. The result of --json is what `apply --plan` takes.
    """
    if save is not None and from_search is None:
        raise SettingsError("--save writes the draft of --from-search.", "Add --from-search QUERY.")
    with open_library(context) as opened:
        drafts = read_drafts(files)
        if from_search is not None:
            drafts |= _from_search(opened, from_search, save, as_json=as_json)
        found = ProposedRules.of(opened.settings, drafts).preview(opened.library, opened.library.graph)
    if as_json:
        print_json(found)
        return
    _show_plan(found)
    if edits_wait(opened.settings):
        note("Edited files in rules/ wait for `vidpipe rules apply` ([Rules] Apply = approve).", "yellow")


def apply(
    context: typer.Context,
    files: DraftFiles = None,
    *,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="What `vidpipe rules plan --json` has written.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> int:
    """Put drafts or edited files into force and label the library with them.

    Rules of a draft replace those of the same id in the file that holds them; new ones go into a file of rules/ that is
    called like the draft. Exit code 1: some videos failed; `vidpipe run` retries them.
    """
    if files and plan_file:
        raise SettingsError("--plan contains its drafts already.", "Leave out FILE.")
    planned = _read_plan(plan_file) if plan_file else {}
    with open_library(context) as opened:
        proposed = ProposedRules.of(opened.settings, planned.get("drafts") or read_drafts(files))
        if planned:
            proposed.check(planned, opened.library)
        return _apply(opened, proposed, yes=yes, as_json=as_json)


def undo(
    context: typer.Context,
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="The version to return to. Default: that before the latest.")
    ] = None,
    *,
    yes: Yes = False,
    as_json: Json = False,
) -> int:
    """Put an earlier version of the rules into force again, as a new version."""
    with open_library(context) as opened:
        proposed = ProposedRules.returning(opened.library, opened.settings, version, discard_edits=yes)
        return _apply(opened, proposed, yes=yes, as_json=as_json)


def history(context: typer.Context, *, as_json: Json = False) -> None:
    """List every version of the rules that was applied, latest first."""
    with open_library(context) as opened:
        versions = list(rule_versions(opened.library.collections["lineage"]))
    if as_json:
        print_json({"versions": [asdict(version) for version in versions]})
        return
    if not versions:
        note("No version of the rules was applied yet.")
        return
    made = table("version", "applied", "by", "tags", "what")
    for version in versions:
        made.add_row(*map(words, (version.number, f"{version.at:%Y-%m-%d %H:%M:%S}", version.by,
                                  version.versions["custom_tags"], _what(version))))  # fmt: skip
    out().print(made)


def show(context: typer.Context, version: _Version, *, as_json: Json = False) -> None:
    """Show a version of the rules: what it changed, and its files."""
    with open_library(context) as opened:
        lineage = opened.library.collections["lineage"]
        found = rule_version(lineage, version)
        texts = texts_of(lineage, found)
    if as_json:
        print_json(asdict(found) | {"texts": texts})
        return
    out().print(words(f"Version {found.number}, {found.at:%Y-%m-%d %H:%M:%S} UTC, by {found.by}. {_what(found)}"))
    for name, text in texts.items():
        out().print(words(name, "bold"))
        _print_lines(text.splitlines())


def diff(context: typer.Context, a: _Version, b: _Version, *, as_json: Json = False) -> None:
    """Show how two versions of the rules differ."""
    with open_library(context) as opened:
        lineage = opened.library.collections["lineage"]
        old, new = (texts_of(lineage, rule_version(lineage, number)) for number in (a, b))
        found = _differences(old, new, opened.settings)
    if as_json:
        print_json(found)
        return
    for change, rules in found["rules"].items():
        if rules:
            shown = rules if isinstance(rules, bool) else ", ".join(map(_rule_named, rules))
            say(out(), words(f"{change}: {shown}"))
    _print_lines(line for lines in found["text"].values() for line in lines)


def _read_plan(path: Path) -> dict[str, Any]:
    (text,) = read_drafts([path]).values()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    drafts = found.get("drafts") if isinstance(found, dict) else None
    if not isinstance(drafts, dict) or not all(isinstance(text, str) for text in drafts.values()):
        raise SettingsError(f"{path} is no plan.", f"`vidpipe rules plan FILE --json > {path}` writes one.")
    return dict(found)


def _from_search(opened: OpenLibrary, query: str, save: Path | None, *, as_json: bool) -> dict[str, str]:
    from vidpipe.search.fields import Fields
    from vidpipe.search.rule_draft import draft_rule
    from vidpipe.search.saved import SavedSearches

    rule = draft_rule(query, Fields(opened.library.graph), SavedSearches(opened.library.collections))
    text = yaml.safe_dump({"rules": [rule]}, sort_keys=False, allow_unicode=True, width=100)
    if save is not None and save.exists():
        raise SettingsError(f"{save} exists.", "Name another file.")
    if save is not None:
        replace_file(save, text.encode())
    if not as_json:
        _print_lines(text.splitlines())
    return {str(save or f"{rule['id']}.yaml"): text}


def _apply(opened: OpenLibrary, proposed: ProposedRules, *, yes: bool, as_json: bool) -> int:
    library = opened.library
    found = proposed.preview(library, library.graph)
    if not as_json:
        _show_plan(found)
    confirm("vidpipe rules", "Apply these rules?", yes=yes, as_json=as_json)
    request = proposed.apply(library, opened.plan, "command", found)
    report, code = run_and_show(opened, request, as_json=as_json)
    if as_json:
        latest = next(rule_versions(library.collections["lineage"]))
        print_json({"version": latest.number, "plan": found, "run": report})
    return code


def _show_plan(found: Mapping[str, Any]) -> None:
    for kind in ("tags", "categories"):
        made = table(kind, *_CHANGES, "such as", right=_CHANGES)
        changes = sorted(found[kind].values(), key=lambda one: -(one["gain"] + one["lose"]))
        changes = [one for one in changes if one["gain"] or one["lose"]]
        for one in changes[:_MOST_SHOWN]:
            names = ", ".join(found["names"].get(sha256, sha256) for sha256 in (one["gaining"] + one["losing"])[:3])
            made.add_row(*(words(one[key]) for key in ("name", *_CHANGES)), words(names))
        if changes:
            out().print(made)
        if len(changes) > _MOST_SHOWN:
            note(f"… and {len(changes) - _MOST_SHOWN} more; --json lists all.")
    for name, given in found["rules"].items():
        if given["before"] != given["after"]:
            out().print(words(f"rule {name}: {given['before']} tags now, {given['after']} then"), soft_wrap=True)
    waiting = f" {counted(found['waiting'], 'video')} wait for other work first." if found["waiting"] else ""
    say(out(), words(f"{found['changed']:,} of {found['compared']:,} videos change and are written; no model is called "
                     f"and nothing costs money.{waiting} Planned in {found['seconds']:.1f} s."))  # fmt: skip


def _what(version: RuleVersion) -> str:
    said = [f"undid version {version.undid}"] if version.undid else []
    if "changed" in version.changed:
        said.append(f"{counted(version.changed['changed'], 'video')} changed")
    return "; ".join(said)


def _differences(old: Mapping[str, str], new: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    try:
        sets = [parsed_rules(texts, settings)["custom_tags"] for texts in (old, new)]
        rules = asdict(compare(*sets))
    except SettingsError as error:  # of a version of vidpipe with another rule language
        rules = {"problem": error.message}
    return {"rules": rules, "text": text_diff(old, new)}


def _rule_named(rule: Any) -> str:
    if isinstance(rule, dict):
        return f"{rule['rule']} ({', '.join(rule['keys'])})"
    return rule if isinstance(rule, str) else " → ".join(rule)


def _print_lines(lines: Iterator[str] | Sequence[str]) -> None:
    for line in lines:
        out().print(clean(line), soft_wrap=True)
