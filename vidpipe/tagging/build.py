"""The rule files that the settings name, loaded. `[Rules]` in config.ini holds their paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vidpipe.settings import Settings, default_file
from vidpipe.tagging.categories import CategorySet, load_categories
from vidpipe.tagging.keywords import PriorityKeywords, load_priority_keywords
from vidpipe.tagging.rules import RuleSet, load_rules

LoadedT = TypeVar("LoadedT")


def build_rules(settings: Settings) -> RuleSet:
    """The tag rules in force. Raises SettingsError."""
    return load_named(settings, "custom_tag_rules", load_rules)


def build_categories(settings: Settings) -> CategorySet:
    """The categories in force. Raises SettingsError."""
    return load_named(settings, "categories", load_categories)


def build_priority_keywords(settings: Settings) -> PriorityKeywords:
    """The priority keywords in force. Raises SettingsError."""
    return load_named(settings, "priority_keywords", load_priority_keywords)


def load_named(settings: Settings, field: str, load: Callable[[Path, str], LoadedT]) -> LoadedT:
    """A home without rules of its own uses the ones that come with vidpipe; a file that someone named must be there."""
    named: Path = getattr(settings.rules, field)
    path = settings.resolve(named)
    if not path.exists() and named == type(settings.rules).model_fields[field].default:
        path = default_file(f"rules/{named.name}")
    return load(path, named.as_posix())
