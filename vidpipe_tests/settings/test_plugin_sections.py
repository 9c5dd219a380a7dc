"""Sections of config.ini that plugins declare: read, checked and shown as vidpipe's own, if the plugin is enabled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings import load, plugins
from vidpipe.settings.keys import secret_values
from vidpipe.settings.schema import Settings
from vidpipe_tests.plugin_packages import CODE, Install, installed_package  # noqa: F401 - fixture

ENABLED = "[Analyses]\nEnabled = logo_finder\n"


def test_a_section_is_read_from_files_and_the_environment_and_described(home: Path, install: Install) -> None:
    install()
    (home / "config.ini").write_text(f"{ENABLED}[logofinder]\nMinSize = 0.5\n")
    (home / "config.local.ini").write_text("[LogoFinder]\nToken = hidden-word\n")
    loaded = load(home, {})
    shown = {entry.key.name: entry for entry in loaded.entries() if entry.key.section == "LogoFinder"}
    assert (shown["MinSize"].value, shown["MinSize"].source) == ("0.5", "config.ini")
    assert (shown["MinSize"].key.description, shown["Token"].value) == ("Smallest logo.", "***")
    assert "hidden-word" in secret_values(loaded.settings)
    stronger = load(home, {"VIDPIPE_LOGOFINDER_MINSIZE": "0.7"}).settings
    assert stronger.logo_finder.min_size == 0.7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[LogoFinder]\nMinSise = 1\n", r"unknown key \[LogoFinder\] MinSise.*Did you mean MinSize"),
        ("[LogoFinder]\nMinSize = 7\n", r"\[LogoFinder\] MinSize = 7: must be a number from 0 to 1"),
        ("[LogoFinder]\nToken = x\n", "contains a secret"),
        ("[LogoFindr]\nMinSize = 1\n", r"unknown section \[LogoFindr\].*Did you mean LogoFinder"),
    ],
)
def test_what_is_wrong_in_a_section_is_refused(home: Path, install: Install, lines: str, said: str) -> None:
    install()
    (home / "config.ini").write_text(ENABLED + lines)
    with pytest.raises(SettingsError) as failed:
        load(home, {})
    assert re.search(said, str(failed.value))


@pytest.mark.parametrize("code", ["", "raise RuntimeError('broken')"])
def test_a_section_of_a_plugin_that_is_disabled_or_broken_is_a_notice(home: Path, install: Install, code: str) -> None:
    install(code or CODE)
    (home / "config.ini").write_text(f"{ENABLED if code else ''}[LogoFinder]\nMinSize = 9\n")
    loaded = load(home, {"VIDPIPE_LOGOFINDER_MINSIZE": "8"})
    assert type(loaded.settings) is Settings
    assert len(loaded.notices) == 2
    assert all("its plugin is not enabled in [Analyses], not installed, or fails" in one for one in loaded.notices)


def test_a_plugin_that_was_uninstalled_leaves_a_notice_of_its_section(home: Path) -> None:
    (home / "config.ini").write_text(f"{ENABLED}[LogoFinder]\nMinSize = 9\n")
    loaded = load(home, {"VIDPIPE_LOGOFINDER_MINSIZE": "8"})
    assert len(loaded.notices) == 2
    (home / "config.ini").write_text(f"{ENABLED}[LogoFinders]\nMinSize = 9\n")
    with pytest.raises(SettingsError, match="unknown section"):
        load(home, {})


def test_homes_without_plugins_do_not_look_for_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda **_: pytest.fail("scanned"))
    (home / "config.ini").write_text("[Analyses]\nEnabled = speech, faces\n")
    assert load(home, {}).settings.analyses.enabled == ("speech", "faces")
