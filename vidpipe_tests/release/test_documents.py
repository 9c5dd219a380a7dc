"""The changelog, the licences and the code host's files fit the package that they are about."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from vidpipe import __version__
from vidpipe.library.schema import SCHEMA_VERSION
from vidpipe.models.catalogue import catalogue
from vidpipe_tests.release.test_distribution import PYTHONS, script

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
LICENSES = (ROOT / "docs" / "licenses.md").read_text(encoding="utf-8")
#: The sections of Keep a Changelog 1.1.0, in its order.
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def workflow(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def check_schema(schema: str, *paths: Path) -> None:
    tool = shutil.which("check-jsonschema", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("check-jsonschema is not installed; it is one of vidpipe[dev]")
    command = [tool, "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_changelog_has_a_section_of_this_version_with_a_date() -> None:
    assert script("release_notes").section_of(__version__, CHANGELOG)
    versions = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    dates = [date for _, date in versions[1:]]
    assert all(dates)
    assert dates == sorted(dates, reverse=True)


def test_the_changelog_uses_the_sections_of_keep_a_changelog_in_their_order() -> None:
    for part in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        headings = [name for name in re.findall(r"^### (.+)$", part, re.MULTILINE) if not name.startswith("Upgrading")]
        assert headings == [name for name in SECTIONS if name in headings], part.splitlines()[0]


def test_the_upgrade_notes_name_the_schema_version() -> None:
    assert f"schema version {SCHEMA_VERSION}" in CHANGELOG


def test_release_notes_are_refused_for_a_tag_of_another_version(capsys: pytest.CaptureFixture[str]) -> None:
    notes = script("release_notes")
    assert notes.main([f"v{__version__}"]) == 0
    assert capsys.readouterr().out.startswith("### ")
    assert notes.main(["v99.0.0"]) == 1
    assert __version__ in capsys.readouterr().err


def test_every_dependency_has_a_licence_on_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    rows = dict(re.findall(r"^\| (\S+) \| [^|]+ \| [^|]+ \| ([^|]+) \|", LICENSES, re.MULTILINE))
    names = {Requirement(text).name for text in wanted} - {"vidpipe"}
    assert not names - rows.keys(), "run `make licenses`"
    assert not [name for name in names if rows[name].strip("* ") in ("undeclared", "not installed", "")]


def test_every_model_of_the_catalogue_has_its_licence_on_the_page() -> None:
    for entry in catalogue().values():
        assert f"| {entry.name} | {entry.purpose} | {entry.licence} |" in LICENSES, "run `make licenses`"


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
        ("vendor.dependabot", "dependabot.yml"),
    ],
)
def test_the_files_of_the_code_host_fit_its_schemas(schema: str, pattern: str) -> None:
    paths = sorted(GITHUB.glob(pattern))
    assert paths
    check_schema(schema, *paths)


def test_lint_and_tests_run_with_every_supported_python() -> None:
    jobs = workflow(GITHUB / "workflows" / "ci.yml")["jobs"]
    for name in ("lint", "test"):
        assert jobs[name]["strategy"]["matrix"]["python"] == PYTHONS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.stem))
def test_workflows_may_only_read_unless_a_job_needs_more_and_pin_their_actions(path: Path) -> None:
    loaded = workflow(path)
    assert loaded["permissions"] == {"contents": "read"}
    for job in loaded["jobs"].values():
        assert job["timeout-minutes"]
        for action in (step["uses"] for step in job["steps"] if "uses" in step):
            assert re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", action)


def test_only_the_jobs_that_publish_may_write() -> None:
    jobs = workflow(GITHUB / "workflows" / "release.yml")["jobs"]
    given = {name: job.get("permissions") for name, job in jobs.items()}
    assert given == {"build": None, "pypi": {"id-token": "write"}, "github": {"contents": "write"}}


def test_make_has_the_targets_that_the_workflows_and_the_release_page_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in (*WORKFLOWS, ROOT / "docs" / "releasing.md")]
    named = {word for text in texts for line in re.findall(r"make ((?:[a-z-]+ ?)+)", text) for word in line.split()}
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"lint", "test", "sbom", "audit"} <= named & targets
