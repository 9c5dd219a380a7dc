"""Makes the pages of the reference from the code while MkDocs builds the site."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_args

import typer
from docs_tables import Schema, attributes, codes, default_value, object_table, one_line, table, type_name, with_links
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from vidpipe.cli.main import COMMANDS, app, lazy
from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES
from vidpipe.settings.keys import Key, all_keys
from vidpipe.settings.schema import section_models
from vidpipe.stages.registry import build_graph
from vidpipe.web import api
from vidpipe.web.access import Admin, Reader, Writer
from vidpipe.web.app import API, create_app
from vidpipe.web.home import WebHome

ROOT = Path(__file__).resolve().parents[1]
_UNITS = {"s": "s", "mb": "MB", "days": "days", "minutes": "minutes", "pixels": "pixels"}
_STATED_UNIT = re.compile(r"\b(seconds|minutes|hours|days|MB|pixels|tokens|percent)\b")
#: The forms of a rules file, in the order of the page.
_RULE_FORMS = {
    "FullRuleSource": "Full form", "RuleSource": "Short form", "HoldSource": "Hold", "OwnExclusion": "Exclusions",
    "ExclusionSource": "Shared exclusions", "RuleTest": "Tests", "VocabularySource": "Vocabulary",
}  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the one document beside docs/ lead to its page."""
    return markdown.replace("](../CONTRIBUTING.md", "](contributing.md")


def pages() -> dict[str, str]:
    """Return path below docs/ -> Markdown of every generated page."""
    return {
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "]("),
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/api.md": api_page(),
        "reference/rule-files.md": rules_page(),
        "reference/stages.md": stages_page(),
    }


def commands_page() -> str:
    """Return the page of the command line."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands\n",
        "`vidpipe COMMAND --help` shows the same in the terminal. Options of all commands, which may stand anywhere:\n",
        _parameters(root),
        f"{root.epilog}\n",
    ]
    for path, (function, summary) in COMMANDS.items():
        parts.append(f"{'###' if ' ' in path else '##'} vidpipe {path}\n")
        if not function:
            parts.append(f"{summary}\n")
            continue
        command = lazy(path).load()
        usage = command.get_usage(command.context_class(command, info_name=f"vidpipe {path}"))
        parts += [f"```text\n{usage.removeprefix('Usage: ')}\n```\n", f"{with_links(command.help or summary)}\n"]
        parts.append(_parameters(command))
    return "\n".join(parts)


def _parameters(command: Any) -> str:
    context = command.context_class(command, info_name=command.name)
    found = [record for one in command.params if (record := one.get_help_record(context))]
    return table(("argument or option", "meaning"), ((f"`{name}`", one_line(text)) for name, text in found))


def settings_page() -> str:
    """Return the page of config.ini."""
    parts = [
        "# Settings\n",
        "Every key of config.ini, which `vidpipe init` writes with the same explanations. `vidpipe config` shows the "
        "values in force and where each comes from. The environment variable `VIDPIPE_SECTION_KEY` overrides a key, as "
        "`VIDPIPE_CONCURRENCY_MAXWORKERS=4` does; secrets belong there or in config.local.ini. Where there is no "
        "default, an empty value means what the description says.\n",
    ]
    for section in section_models(Settings).values():
        keys = [key for key in all_keys() if key.model is section]
        rows = (
            (f"`{key.name}`", f"`{key.default_text}`" if key.default_text else "", unit(key),
             "a secret" if key.secret else one_line(key.allowed), one_line(key.description))
            for key in keys
        )  # fmt: skip
        parts += [f"## {section.__name__}\n", f"{one_line(section.__doc__ or '')}\n"]
        parts.append(table(("key", "default", "unit", "allowed values", "meaning"), rows))
    return "\n".join(parts)


def unit(key: Key) -> str:
    """Return the unit of a number: that of its name in Python, or the one its description states."""
    if not key.allowed.startswith(("a number", "a whole number")):
        return ""
    stated = _STATED_UNIT.search(key.description)
    return _UNITS.get(key.field.rpartition("_")[2], stated[1] if stated else "")


def api_page() -> str:
    """Return the page of the REST API."""
    scopes = _scopes()
    document = create_app(WebHome(lambda: Settings(home=ROOT))).openapi()
    parts = [
        "# REST API\n",
        "The library page serves the same as an OpenAPI document at `/api/openapi.json`; "
        "[the library page](../library-page.md#api) has examples, and [Access](../library-page.md#access) "
        "explains keys and scopes. Errors are [Problem](#type-problem) documents with a status of 400 or more.\n",
    ]
    tag = ""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag != (tag := operation["tags"][0]):
                parts.append(f"## {tag.capitalize()}\n")
            scope = scopes.get((method.upper(), path), "none; needs no key")
            parts += [
                f"### {method.upper()} `{path}`\n",
                f"{with_links(operation['description'])}\n",
                f"Scope: {scope}.\n",
                _inputs(operation),
                "".join(_responses(operation)),
            ]
    parts.append("## Types\n")
    for name, schema in document["components"]["schemas"].items():
        parts += [f"### {name} {{ #type-{name.lower()} }}\n", object_table(schema)]
    return "\n".join(parts)


def _scopes() -> dict[tuple[str, str], str]:
    """Return (method, path) -> scope that the caller must have."""
    checks = {
        get_args(kind)[1].dependency: scope for kind, scope in ((Reader, "read"), (Writer, "write"), (Admin, "admin"))
    }
    modules = [import_module(f"{api.__name__}.{found.name}") for found in iter_modules(api.__path__)]
    routers = [value for module in modules for value in vars(module).values() if isinstance(value, APIRouter)]
    return {
        (method, f"{API}{route.path}"): checks[call]
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for call in _calls(route.dependant)
        if call in checks
        for method in route.methods
    }


def _calls(dependant: Dependant) -> Iterator[Any]:
    """Yield an endpoint, and everything that it depends on."""
    yield dependant.call
    for one in dependant.dependencies:
        yield from _calls(one)


def _inputs(operation: Schema) -> str:
    rows = [
        (f"`{one['name']}`", one["in"], type_name(one["schema"]), default_value(one["schema"], one["required"]),
         one_line(one["description"]))
        for one in operation.get("parameters", ())
    ]  # fmt: skip
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("", "body", type_name(content.get("schema", {})), "required", f"`{media_type}`"))
    return table(("parameter", "in", "type", "default", "meaning"), rows)


def _responses(operation: Schema) -> Iterator[str]:
    for status, response in sorted(operation["responses"].items()):
        if status < "400":
            content = response.get("content", {}).items()
            what = [f"`{media_type}` {type_name(one.get('schema', {}))}".rstrip() for media_type, one in content]
            yield f"- {status}{': ' if what else ''}{', or '.join(what)}\n"


def rules_page() -> str:
    """Return the page of rule files."""
    schema = json.loads((ROOT / "rules" / "rules.schema.json").read_text(encoding="utf-8"))
    parts = [
        "# Rule files\n",
        "The keys of a file in rules/. Editors complete and check them by `rules/rules.schema.json`, from which "
        "this page is made. [Rules](../rules.md) explains them with examples.\n",
    ]
    for name, title in _RULE_FORMS.items():
        parts += [f"## {title} {{ #type-{name.lower()} }}\n", object_table(schema["$defs"][name], _explained_keys())]
    conditions = schema["$defs"]["Conditions"]
    fields = [
        (f"`{name}`", one_line(one["description"])) for name, one in conditions["properties"].items() if "|" not in name
    ]
    parts += ["## Conditions { #type-conditions }\n", f"{with_links(conditions['description'])}\n"]
    parts.append(table(("field", "meaning"), fields))
    return "\n".join(parts)


def _explained_keys() -> dict[str, str]:
    """Return key -> meaning from the tables of the page about rules, which a test compares with the code."""
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|\n]+) \|", text, re.MULTILINE)[::-1]  # of several, the first one counts
    return {key: re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", meaning).replace("**", "") for key, meaning in rows}


def stages_page() -> str:
    """Return the page of the stages, optional analyses included."""
    graph = build_graph(Settings(home=ROOT, analyses={"enabled": ANALYSES}))
    types: dict[str, Schema] = {}
    parts = [
        "# Stages\n",
        "In the order in which they run. What a stage reads, its settings and its resources decide when its result is "
        "out of date; [Architecture](../architecture.md#versions) explains how.\n",
    ]
    for stage in graph:
        schema = stage.result.model_json_schema(mode="serialization")
        types |= schema.get("$defs", {})
        inherited = {name: text for model in stage.result.__mro__ for name, text in attributes(model.__doc__).items()}
        facts = {
            "Step": stage.job, "Enabled by": f"`[Analyses] Enabled = {stage.name}`" if stage.optional else "always",
            "Reads": codes(stage.reads), "Reads if there": codes(stage.optional_reads),
            "Settings": codes(stage.settings), "Resources": codes(stage.resources),
        }  # fmt: skip
        parts += [f"## {stage.name}\n", f"{with_links(stage.description)}\n"]
        parts.append(table(("", ""), ((name, text) for name, text in facts.items() if text)))
        parts.append(object_table({**schema, "description": ""}, inherited))
    parts.append("## Types\n")
    for name, schema in sorted(types.items()):
        parts += [f"### {name} {{ #type-{name.lower()} }}\n", object_table(schema)]
    return "\n".join(parts)
