"""Rules that are edited: checked while they are written, planned, applied and undone; and their versions."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from vidpipe.errors import SettingsError
from vidpipe.library.rule_history import rule_version, rule_versions, text_diff, texts_of
from vidpipe.runner.job_request import RulesJob
from vidpipe.runner.rule_changes import edits_wait, parsed_rules, with_file
from vidpipe.stages.registry import enabled_analyses
from vidpipe.tagging.rule_check import Level, RuleFinding, check_rules
from vidpipe.tagging.rule_files import tag_rule_texts
from vidpipe.web.access import Admin, Reader, Writer
from vidpipe.web.api.settings import RULE_FILE
from vidpipe.web.home import Opened
from vidpipe.web.jobs import Job, ServerJobs
from vidpipe.web.problems import RequestError

router = APIRouter(prefix="/rules", tags=["rules"])

_LINE = re.compile(r"\bline (\d{1,9})\b")
_Number = Annotated[int | None, Query(ge=1, le=2**53, description="Number of a version.")]


class RuleDraft(BaseModel):
    """A file of rules as it would be; its name is that of a file in their folder, or new."""

    name: str = Field(pattern=RULE_FILE)
    text: str = Field(max_length=1_000_000)


class RulesToApply(BaseModel):
    """What to apply: the id of the job that planned it; or, to undo, the number of an earlier version."""

    plan: str = Field("", max_length=64)
    version: int | None = Field(None, ge=1, le=2**53)


class DraftFinding(BaseModel):
    """What is wrong with a draft.

    Attributes:
        level: error: the rules cannot be used; warning: they hardly do what was meant; note: worth knowing.
        rule: Id or name of the rule; empty: it is about the file.
        sentence: What was found.
        hint: What to do about it.
        line: Of the draft, from 1; null: unknown.
    """

    level: Level
    file: str
    rule: str
    sentence: str
    hint: str
    line: int | None


class AppliedVersion(BaseModel):
    """A version of the rules that was applied.

    Attributes:
        number: 1 is the first.
        by: Who applied it: command, page, sensor, schedule, backfill.
        versions: Resource (custom_tags, categories) -> version of its rules.
        files: File -> the id of its text.
        changed: What it changed, in numbers; empty: not known.
        undid: The version that it undid.
    """

    number: int
    at: datetime
    by: str
    versions: dict[str, str]
    files: dict[str, str]
    changed: dict[str, Any]
    undid: int | None


class VersionList(BaseModel):
    """The versions, latest first; whether edits wait for approval; and the lines of the difference asked for."""

    versions: list[AppliedVersion]
    waits: bool
    diff: list[str]


@router.post("/check")
def check_draft(draft: RuleDraft, opened: Opened, caller: Writer) -> list[DraftFinding]:
    """Return findings about a draft among the files of rules: level, rule, sentence, hint, line. Nothing is stored."""
    settings, found = opened.settings, list[RuleFinding]()
    try:
        shown, texts = with_file(settings, draft.name, draft.text)
        if shown == settings.rules.categories.as_posix():
            parsed_rules(texts, settings)
        else:
            vocabulary = enabled_analyses(settings).vocabulary
            found = check_rules(tag_rule_texts(settings, edited=True), {shown: draft.text}, vocabulary, {})
    except SettingsError as error:
        found = [RuleFinding("error", draft.name, "", error.message, error.hint)]
    return [DraftFinding(**one._asdict(), line=_line(one, draft.text)) for one in found]


def _line(finding: RuleFinding, text: str) -> int | None:
    said = _LINE.search(finding.sentence)
    return int(said[1]) if said else line_of(finding.rule, text)


def line_of(rule: str, text: str) -> int | None:
    """Return the line of a file that has the id or name of a rule."""
    name = re.search(rf"""\b(?:id|name)["']?\s*:\s*["']?{re.escape(rule)}["']?\s*(?:$|[,#}}])""", text, re.MULTILINE)
    return text.count("\n", 0, name.start()) + 1 if name and rule else None


@router.post("/plan", status_code=202)
def plan_rules(draft: RuleDraft | None, jobs: ServerJobs, caller: Writer) -> Job:
    """Find out in a job what a draft, or null, the files, would do, as `vidpipe rules plan --json`."""
    return jobs.start(RulesJob(kind="plan", drafts={draft.name: draft.text} if draft else {}), caller.name)


@router.post("/apply", status_code=202)
def apply_rules(body: RulesToApply, jobs: ServerJobs, caller: Admin) -> Job:
    """Apply in a job what was planned, unless rules or library have changed since; or return to a version."""
    plan = {} if body.version else planned(jobs, body.plan)
    return jobs.start(
        RulesJob(kind="apply", drafts=plan.get("drafts", {}), plan=plan, version=body.version), caller.name
    )


def planned(jobs: ServerJobs, job_id: str) -> dict[str, Any]:
    """Return the result of a plan. Raises RequestError if there is none."""
    job = jobs[job_id].job
    if job.kind != "plan" or job.state != "succeeded" or job.result is None:
        raise RequestError(404, "There is no such plan.", "Plan the rules again.")
    return job.result


@router.get("/versions")
def list_versions(opened: Opened, caller: Reader, a: _Number = None, b: _Number = None) -> VersionList:
    """Return the versions that were applied, whether edits wait for approval, and how the files of a and b differ."""
    lineage = opened.library.collections["lineage"]
    old, new = (texts_of(lineage, rule_version(lineage, number)) if a and b and number else {} for number in (a, b))
    items = [AppliedVersion(**asdict(one)) for one in rule_versions(lineage)]
    changes = [line for lines in text_diff(old, new).values() for line in lines]
    return VersionList(versions=items, waits=edits_wait(opened.settings), diff=changes)
