"""The pages of rules: the list with its report, the editor of a file, plans, and versions."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from vidpipe.tagging.field_conditions import MODIFIERS
from vidpipe.tagging.fields import FIELD_NAMES, LIST_FIELDS, TEXT_FIELDS
from vidpipe.tagging.rule import FullRuleSource
from vidpipe.tagging.rule_files import rule_texts
from vidpipe.web.access import Reader, Writer
from vidpipe.web.api.rules import line_of, list_versions, planned
from vidpipe.web.api.rules_report import report_on_rules
from vidpipe.web.api.settings import RULE_FILE, read_file
from vidpipe.web.home import Home, Opened, Searchable
from vidpipe.web.jobs import ServerJobs
from vidpipe.web.pages.rendering import render

router = APIRouter(prefix="/rules")

_NEW = """rules:
  - id: my-rule
    title: What it finds
    selections:
      words: {description|word: [highway, street]}
    condition: words
    tags: [My Tag]
"""
_WORDS = sorted({
    *FIELD_NAMES, *LIST_FIELDS, *TEXT_FIELDS, *(one.alias or name for name, one in FullRuleSource.model_fields.items()),
})  # fmt: skip
_Number = Annotated[int | None, Query(ge=1, le=2**53)]


@router.get("")
def rules(request: Request, opened: Opened, caller: Reader) -> HTMLResponse:
    """Show the rules in force with their report, and the files that they are in."""
    in_force, history = opened.plan.resources.get("custom_tags"), list_versions(opened, caller)
    report = report_on_rules(opened, caller) if in_force else None
    return render(request, "rules.html", rules=in_force, report=report, opened=opened, waits=history.waits,
                  files=rule_texts(opened.settings, edited=True))  # fmt: skip


@router.get("/edit")
def edit(
    request: Request, home: Home, opened: Searchable, caller: Writer, *,
    file: Annotated[str, Query(pattern=rf"^$|{RULE_FILE}")] = "",
    rule: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:  # fmt: skip
    """Show the editor of a file of rules, of that with a rule, or of a new one."""
    if rule:
        texts = rule_texts(opened.settings, edited=True)
        file = next((shown for shown in texts if line_of(rule, texts[shown])), next(iter(texts))).rpartition("/")[2]
    text = read_file(file or "draft.yaml", home, opened, caller, answer := Response()).text or _NEW
    words = {"modifier": MODIFIERS, "word": _WORDS, "tag": [*opened.engine.find(limit=1).facets["tag"]]}
    etag, line = answer.headers["ETag"], line_of(rule, text)
    return render(request, "rules_edit.html", file=file, text=text, etag=etag, line=line, words=words)


@router.get("/plan/{job_id}")
def plan(request: Request, jobs: ServerJobs, job_id: str, caller: Reader) -> HTMLResponse:
    """Show what a plan found: tags and categories with gains and losses, rules, and examples."""
    return render(request, "rules_plan.html", job=job_id, found=planned(jobs, job_id))


@router.get("/history")
def history(request: Request, opened: Opened, caller: Reader, a: _Number = None, b: _Number = None) -> HTMLResponse:
    """Show the versions of the rules, and how two of them differ."""
    return render(request, "rules_history.html", found=list_versions(opened, caller, a, b), a=a, b=b)
