"""Settings: what is in force, and changes of config.ini and the rules."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Header, Response
from fastapi import Path as InPath
from filelock import FileLock
from pydantic import BaseModel, Field

from vidpipe.errors import SettingsError
from vidpipe.models.questions import parse_priority_keywords, parse_questions
from vidpipe.operations.services.lifecycle import fingerprint
from vidpipe.operations.services.state import desired_state
from vidpipe.runner.rule_changes import parsed_rules, rules_lock, with_file
from vidpipe.safe_files import read_regular, replace_file
from vidpipe.settings import Settings, audit, default_file, load
from vidpipe.settings.keys import all_keys
from vidpipe.settings.remote_edit import LocalSettingError, check_edit, remotely_editable
from vidpipe.web.access import Admin, Reader
from vidpipe.web.home import Home, Opened, WebHome
from vidpipe.web.problems import RequestError

router = APIRouter(tags=["settings"])

FileName = Literal["config.ini", "custom_tags.json", "categories.json", "priority_keywords.json", "questions.json"]
FILES: tuple[FileName, ...] = get_args(FileName)
#: A file in the folder of the rules; those whose name begins with a dot or underscore are not read.
RULE_FILE = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}\.(json|yaml|yml)$"
_Name = Annotated[str, InPath(pattern=rf"^config\.ini$|{RULE_FILE}", description="config.ini, or a file of rules.")]
#: File -> the field of [Rules] that names it, and what parses its text; others hold tag rules or categories.
_RULES: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "priority_keywords.json": ("priority_keywords", parse_priority_keywords),
    "questions.json": ("questions", parse_questions),
}


class EffectiveSettings(BaseModel):
    """The settings in force, as `vidpipe config --json`; secrets are masked.

    Attributes:
        settings: Section -> key -> value, source, default, allowed values, description; `remote`: whether it can be
            changed over the network.
        home: The folder that relative paths refer to.
        config: The file that was read.
    """

    home: str
    config: str
    settings: dict[str, dict[str, dict[str, Any]]]


class FileText(BaseModel):
    """The text of a file."""

    text: str = Field(max_length=1_000_000)


class FileSaved(BaseModel):
    """A file was replaced; its former text is in NAME.bak.

    Attributes:
        etag: Of the new text.
        note: What the change needs to take effect.
    """

    etag: str
    note: str


@router.get("/settings")
def get_settings(home: Home, opened: Opened, caller: Reader) -> EffectiveSettings:
    """Return every setting with its value, source, default, allowed values and description."""
    found = load(opened.settings.home, config=home.config).as_json()
    for key in all_keys(type(opened.settings)):
        if key.name in found["settings"].get(key.section, {}):
            found["settings"][key.section][key.name]["remote"] = remotely_editable(key)
    return EffectiveSettings(**found)


@router.get("/settings/files/{name}")
def read_file(name: _Name, home: Home, opened: Opened, caller: Admin, response: Response) -> FileText:
    """Return the text of config.ini or a file of rules, and its version as ETag; a file that is new has no text yet."""
    content = _content(_path(name, opened.settings, home), name)
    response.headers["ETag"] = _etag(content)
    return FileText(text=content.decode(errors="replace"))


@router.put("/settings/files/{name}")
def save_file(
    name: _Name,
    new: FileText,
    home: Home,
    opened: Opened,
    caller: Admin,
    *,
    if_match: Annotated[str, Header(max_length=200, description="ETag of the version that was edited.")],
) -> FileSaved:
    """Check a new text, and replace the file by it.

    config.ini: numbers, yes or no, fixed choices and plain texts can be changed; what names a file, program, address,
    model or plugin, and who can reach the servers, only on the machine itself (403).
    """
    settings, path = opened.settings, _path(name, opened.settings, home)
    try:
        with rules_lock(settings), FileLock(path.with_name(f".{path.name}.lock"), timeout=10):
            former = _content(path, name)
            if if_match != _etag(former):
                raise RequestError(412, f"{name} was changed by someone else meanwhile.", "Load it again.")
            try:
                note = _checked(name, path, new.text, settings)
            except SettingsError as error:
                status = 403 if isinstance(error, LocalSettingError) else 422
                raise RequestError(status, error.message, error.hint) from None
            content = new.text.encode()
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
            if path.exists() or name in FILES:
                replace_file(path.with_name(f"{path.name}.bak"), former, mode)
            replace_file(path, content, mode)
            path.chmod(mode)  # whatever the umask is
    except OSError as error:
        raise RequestError(503, f"{name} cannot be written: {error.strerror or error}.") from None
    home.reload()
    audit("settings", by=caller.name, file=name)
    return FileSaved(etag=_etag(content), note=note)


def _checked(name: str, path: Path, text: str, settings: Settings) -> str:
    """Return what a new text needs to take effect. Raises SettingsError if it is wrong."""
    if name == "config.ini":
        changed = check_edit(path, text, settings).settings
        desired = desired_state(settings)
        up_to_date = desired is None or desired.fingerprint == fingerprint(changed)
        return "" if up_to_date else "Run `vidpipe up` on the machine: it restarts the servers with these settings."
    if name in _RULES:
        _RULES[name][1](text, name)
    else:
        parsed_rules(with_file(settings, name, text)[1], settings)
        if settings.rules.apply == "approve":
            return "It waits until somebody applies it: plan it on the page of rules."
    return "Videos that this concerns are due now: `vidpipe run` applies it, and `vidpipe up` does so by itself."


def _path(name: str, settings: Settings, home: WebHome) -> Path:
    if name == "config.ini":
        return home.config.resolve()
    if name in _RULES:
        return settings.resolve(getattr(settings.rules, _RULES[name][0])).resolve()
    return settings.resolve(with_file(settings, name, "")[0]).resolve()


def _content(path: Path, name: str) -> bytes:
    """Return the content of the file; vidpipe's own rules if there is none."""
    if not path.exists() and name not in FILES:
        return b""
    return read_regular(path if path.exists() else default_file(f"rules/{name}"))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
