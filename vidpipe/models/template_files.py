"""Which template files are in use, and which fields they name, found without parsing them.

Every command needs to know what the stage `descriptions` reads, so this imports neither jinja2 nor the prompts.
"""

import re
from collections.abc import Collection
from pathlib import Path

from vidpipe.safe_files import read_regular_text
from vidpipe.settings import Settings
from vidpipe.settings.home import DEFAULT_RULES

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_INCLUDE = re.compile(r"""\binclude\s+["']([A-Za-z0-9_-]{1,60}\.j2)["']""")
#: Characters of a file.
MAX_SOURCE = 32_000


def template_files(settings: Settings) -> list[str]:
    """Return the names of the files of the prompts in use, without those that they include."""
    return [f"{name}.j2" for name in (*settings.qwen_vl.prompts, "question")]


def find_template(settings: Settings, file: str) -> Path:
    """Return the path of a template: in the folder of [Rules] Prompts, or among the defaults."""
    own = settings.resolve(settings.rules.prompts) / file
    return own if own.is_file() else DEFAULT_RULES / "prompts" / file


def named_fields(settings: Settings, names: Collection[str]) -> set[str]:
    """Return those of `names` that the templates in use may read as fields: `video.speech`, `one["speech"]`.

    What merely looks like it (`.speech` in the text of a prompt) counts, too; comments do not. Files that cannot be
    read are passed over: loading the templates reports them.
    """
    field = re.compile(rf"""(?:\.\s*|["'])({"|".join(map(re.escape, sorted(names)))})\b""")
    found: set[str] = set()
    waiting, seen = template_files(settings), set[str]()
    while names and waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        try:
            text = _COMMENT.sub("", read_regular_text(find_template(settings, file))[:MAX_SOURCE])
        except (OSError, UnicodeDecodeError):
            continue
        found.update(field.findall(text))
        waiting += _INCLUDE.findall(text)
    return found
