"""How good the rules are."""

from typing import Annotated

from fastapi import APIRouter, Query

from vidpipe.library.queries.rule_report import RuleReport, rule_report
from vidpipe.models.questions import build_priority_keywords
from vidpipe.web.access import Reader
from vidpipe.web.home import Opened

router = APIRouter(tags=["rules"])

_Rule = Annotated[str | None, Query(max_length=200, description="Only the rule with this id.")]
_Tag = Annotated[str | None, Query(max_length=200, description="Only rules that decide about this tag.")]
_Keywords = Annotated[bool, Query(description="Count priority keywords, too.")]


@router.get("/rules/report")
def report_on_rules(
    opened: Opened, caller: Reader, *, rule: _Rule = None, tag: _Tag = None, keywords: _Keywords = False
) -> RuleReport:
    """Return coverage, precision, disagreement and open questions of the rules, as `vidpipe rules report --json`.

    Priority keywords are counted on request: that reads every description.
    """
    counted = build_priority_keywords(opened.settings).keywords if keywords else ()
    return rule_report(opened.library, opened.plan.rules, counted, rule, tag)
