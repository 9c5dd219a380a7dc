"""Facts of a video for tests of rules."""

from typing import Any

from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import FIELDS


def facts_of(**given: Any) -> RuleFacts:
    """Return facts, given fields of conditions and other facts alike."""
    values = {name: given.pop(name) for name in FIELDS.keys() & given.keys()}
    return RuleFacts(values=values, **given)
