"""Packages with plugins, installed as pip does it: modules with their metadata in a folder on the path."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vidpipe.settings import plugins

#: A plugin with everything, to which a test makes one change.
CODE = '''
from pydantic import Field, SecretStr
from vidpipe.settings.operation import Section
from vidpipe.stages.analyses.declaration import Analysis, Column, EvidenceText, RuleField
from vidpipe.stages.contract import Stage, StageResult, per_video
from vidpipe.stages.search_fields import SearchField, stored
from vidpipe.tagging.fields import FieldSpec

class LogoFinder(Section):
    """Logos."""
    min_size: float = Field(0.1, ge=0, le=1)
    """Smallest logo."""
    token: SecretStr = SecretStr("")
    """Secret."""

class LogoResult(StageResult):
    search_fields = (SearchField("logo", "term", stored("logos"), "A logo.", facet=True),)
    logos: tuple[str, ...] = ()

@per_video
def find(item, context):
    return LogoResult(logos=(str(context.settings.logo_finder.min_size),))

ANALYSIS = Analysis(
    stage=Stage(name="logo_finder", job="prepare", description="Logos.", result=LogoResult, function=find,
                reads=("scenes.pack",), settings=("logo_finder.min_size",), optional=True),
    settings=LogoFinder,
    evidence=(EvidenceText("logos", "a logo says", "logo_finder.logos", lambda logos: ()),),
    rule_fields=(RuleField(FieldSpec("logo_count", "number", "logos"), "logo_finder.logos", len),),
    columns={"logos": Column("texts", lambda stored: stored.get("logos"))},
)
'''

#: Installs a package with this code.
Install = Callable[..., None]


@pytest.fixture(name="install")
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    def install(code: str = CODE) -> None:
        # a name of its own: imported modules stay
        module = f"logos_{uuid.uuid4().hex}"
        folder = tmp_path / "site"
        information = folder / "vidpipe_logos-1.2.dist-info"
        information.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        metadata = "Metadata-Version: 2.1\nName: vidpipe-logos\nVersion: 1.2\n"
        (information / "METADATA").write_text(metadata)
        (information / "entry_points.txt").write_text(f"[vidpipe.stages]\nlogo_finder = {module}:ANALYSIS\n")
        monkeypatch.syspath_prepend(str(folder))
        plugins.installed_plugins.cache_clear()

    yield install
    monkeypatch.undo()
    plugins.installed_plugins.cache_clear()
