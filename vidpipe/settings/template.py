"""config.ini as `vidpipe init` writes it: every key with its description, allowed values and default."""

from __future__ import annotations

import textwrap

from vidpipe.settings.keys import Key, all_keys, section_model
from vidpipe.settings.schema import SECTION_NAMES

_HEAD = """\
# Settings of a vidpipe home: the folder of this file, with rules/ and data/.
#
# An empty value means the default. Comments go on lines of their own. `vidpipe config` prints what is in force and
# where each value came from. Stronger than this file, weakest first:
#   config.local.ini                 beside this file, in the same form, ignored by git; the place for secrets
#   VIDPIPE_<SECTION>_<KEY>          environment variables: VIDPIPE_MONGODB_URI, VIDPIPE_CONCURRENCY_MAXWORKERS
#   options of the vidpipe command
# Secrets (AccessKey, an address with a password) are refused in this file.
"""
_WIDTH = 116


def render_config() -> str:
    """The text of a fresh config.ini. Secret keys are left out: the file has no place for them."""
    parts = [_HEAD]
    for section_field, section in SECTION_NAMES.items():
        parts.append("\n" + _comment(" ".join((section_model(section_field).__doc__ or "").split())))
        parts.append(f"[{section}]\n")
        for key in all_keys():
            if key.section == section and not key.secret:
                parts.append(f"{_comment(_explanation(key))}{key.name} = {key.default_text}".rstrip() + "\n")
    return "".join(parts)


def _explanation(key: Key) -> str:
    facts = [] if key.allowed in ("text", "a path", "a comma-separated list") else [key.allowed]
    if key.default_text:
        facts.append(f"default {key.default_text}")
    return key.description + (f" ({'; '.join(facts)})" if facts else "")


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"
