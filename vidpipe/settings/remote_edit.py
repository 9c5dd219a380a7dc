"""Changes of config.ini over the network: which keys they may touch, and how they are checked.

Whoever changes settings over the network must not thereby run programs, read or write other files, reach other
machines, or decide who may reach the servers. So numbers, yes or no, fixed choices and a few plain texts can be changed
over the network; everything that names a program, file, address, model or plugin only on the machine itself.
"""

import re
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from vidpipe.errors import SettingsError
from vidpipe.settings.home import CONFIG_NAME
from vidpipe.settings.keys import Key, all_keys
from vidpipe.settings.load import LoadedSettings, load
from vidpipe.settings.schema import SECTION_NAMES, Settings
from vidpipe.settings.sources import parse_ini, read_ini

#: Texts that name nothing outside vidpipe.
_TEXTS = frozenset({
    "qwen_vl.prompts", "qwen_vl.language", "qwen_vl.default_instruction", "speech.language", "rules.schedule",
    "retention.schedule", "mirror.schedule", "budget.currency", "lists.url_columns", "lists.title_columns",
    "lists.label_columns", "lists.priority_columns", "lists.licence_columns", "lists.start_columns",
    "lists.end_columns",
})  # fmt: skip
#: Where files are, what code and models run, and who can reach the servers.
_LOCAL_SECTIONS = frozenset({
    "paths", "mongodb", "analyses", "models", "logging", "services", "library_page", "alerts"
})  # fmt: skip
#: They choose between addresses, or what checks them.
_LOCAL_KEYS = frozenset({"qwen_vl.use_vpc", "qwen_vl.model_hub", "download.use_proxy"})
_NAMED = re.compile(r"\[(\w+)\] (\w+)")


class LocalSettingError(SettingsError):
    """A change of a key that can only be changed on the machine itself."""


def remotely_editable(key: Key) -> bool:
    """Return whether a key may be changed over the network. Those of plugins may not."""
    if key.section_field not in SECTION_NAMES or key.section_field in _LOCAL_SECTIONS or key.dotted in _LOCAL_KEYS:
        return False
    return key.type in (bool, int, float) or bool(key.choices) or key.dotted in _TEXTS


def check_edit(config: Path, text: str, settings: Settings) -> LoadedSettings:
    """Return the settings that a new text of config.ini would give.

    Args:
        config: The file as it is.
        text: Its new text.
        settings: The settings in force.

    Raises:
        SettingsError: Something in it is wrong; the message names the line.
        LocalSettingError: It changes what can only be changed on the machine itself.
    """
    with TemporaryDirectory() as folder:
        new = Path(folder) / CONFIG_NAME
        new.write_text(text, encoding="utf-8")
        try:
            model, plugins = type(settings), settings.analyses.enabled
            if found := read_ini(new, CONFIG_NAME, secrets_allowed=False, model=model, plugins=plugins).problems:
                raise SettingsError("\n".join(found))
            _refuse_local(config, new, model)  # before loading, which imports the plugins that are enabled
            return load(settings.home, config=new)
        except SettingsError as error:
            lines = [_with_line(line.replace(str(new), CONFIG_NAME), text) for line in error.message.splitlines()]
            raise type(error)("\n".join(lines), error.hint) from None


def _refuse_local(config: Path, new: Path, model: type[Settings]) -> None:
    keys = {(key.section.lower(), key.name.lower()): key for key in all_keys(model)}
    before, after = _values(config), _values(new)
    changed = sorted(name for name in before.keys() | after.keys() if before[name] != after[name])
    local = [name for name in changed if name not in keys or not remotely_editable(keys[name])]
    if local:
        named = ", ".join(keys[name].label if name in keys else f"[{name[0]}] {name[1]}" for name in local)
        raise LocalSettingError(
            f"{named}: can only be changed on the machine itself.",
            "Edit config.ini there: it names files, programs, addresses, models or plugins, or says who has access.",
        )


def _values(path: Path) -> defaultdict[tuple[str, str], list[str]]:
    """Return (section, key) -> the texts given for it; no text is the same as no key."""
    parser, found = parse_ini(path), defaultdict[tuple[str, str], list[str]](list)
    for section in parser.sections():
        for key, text in parser.items(section):
            if text.strip():
                found[section.lower(), key.lower()].append(text.strip())
    return found


def _with_line(sentence: str, text: str) -> str:
    """Return the sentence with the number of the line that sets the key that it names."""
    named = _NAMED.search(sentence)
    place = rf"(?ims)^[ \t]*\[{named[1]}\](?:(?!^[ \t]*\[).)*?^[ \t]*{named[2]}[ \t]*=" if named else "$^"
    found = re.search(place, text)
    line = text.count("\n", 0, found.end()) + 1 if found else 0
    return sentence.replace(f"{CONFIG_NAME}:", f"{CONFIG_NAME}, line {line}:", 1) if line else sentence
