"""vidpipe rules check: errors and doubts in rule files, and the tests in them."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli.context import OpenLibrary, command_context, open_library
from vidpipe.cli.options import Json
from vidpipe.cli.output import counted, out, print_json, words
from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.queries.explain import rule_fields
from vidpipe.safe_files import read_regular_text
from vidpipe.settings import Settings, default_file
from vidpipe.settings.analyses import ANALYSES
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.rule_facts import rule_facts
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.rule_check import check_rules
from vidpipe.tagging.rule_files import tag_rule_texts

DraftFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="Drafts outside rules/. Default: the files in rules/ as they are."),
]
_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def check(
    context: typer.Context,
    files: DraftFiles = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of rule files, for editors.")] = False,
    as_json: Json = False,
) -> int:
    """Check rule files: errors, unknown fields, rules that can never apply, contradictions, and the tests in them.

    Rules of a draft replace those of the same id. Exit code 2: there are errors.
    """
    if schema:
        print_json(json.loads(default_file("rules/rules.schema.json").read_bytes()))
        return 0
    settings = command_context(context).load().settings
    in_force = tag_rule_texts(settings, edited=True)
    drafts = read_drafts(files)
    with ExitStack() as stack:
        library = None
        if any(re.search(r'\bvideo"?\s*:', text) for text in (drafts or in_force).values()):
            with suppress(UnavailableError):
                library = partial(_facts, stack.enter_context(open_library(context)))
        found = check_rules(in_force, drafts, enabled_analyses(settings).vocabulary, _disabled(settings), library)
    if as_json:
        print_json([one._asdict() for one in found])
    for one in () if as_json else found:
        place = "" if one.sentence.startswith(f"{one.file}, ") else f"{one.file}{f', {one.rule}' * bool(one.rule)}: "
        out().print(words(f"{one.level}: {place}", _STYLES[one.level])
                    + words(f"{one.sentence} {one.hint}"), soft_wrap=True)  # fmt: skip
    levels = Counter[str](one.level for one in found)
    if not as_json:
        out().print(", ".join(counted(levels[level], level) for level in _STYLES if levels[level]) or "No findings.")
    return 2 if levels["error"] else 0


def read_drafts(files: Sequence[Path] | None) -> dict[str, str]:
    """Return path -> text of drafts of rules. Raises SettingsError."""
    texts = {}
    for path in files or ():
        try:
            texts[str(path)] = read_regular_text(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "it is not UTF-8 text"
            raise SettingsError(f"{path} cannot be read: {reason}.") from None
    return texts


def _disabled(settings: Settings) -> dict[str, str]:
    """Return field -> the analysis, not enabled, that finds it."""
    off = {name: import_module(f"vidpipe.stages.analyses.{name}").ANALYSIS
           for name in ANALYSES if name not in settings.analyses.enabled}  # fmt: skip
    fields = {field.spec.name: name for name, analysis in off.items() for field in analysis.rule_fields}
    return fields | {text.name: name for name, analysis in off.items() for text in analysis.evidence}


def _facts(opened: OpenLibrary, video: str) -> RuleFacts:
    library, sha256 = opened.library, opened.library.videos.resolve(video)
    scenes = library.videos.scenes([sha256]).get(sha256, [])
    fields = rule_fields(library, sha256, library.videos.get(sha256) or {}, scenes)
    return rule_facts(fields, analyses=enabled_analyses(library.settings))
