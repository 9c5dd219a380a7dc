"""The tutorials work as they are printed, with vidpipe installed from a wheel, in an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vidpipe_tests.walks.conftest import DOCS
from vidpipe_tests.walks.document import run_document

pytestmark = [pytest.mark.soak, pytest.mark.server, pytest.mark.timeout(1800)]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_works_as_it_is_printed(tutorial: Path, request: pytest.FixtureRequest, folder: Path) -> None:
    clusters = tutorial.stem == "cluster"
    if clusters and not (shutil.which("redis-server") and list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))):
        pytest.skip("install Debian's packages redis-server and postgresql")
    environment = request.getfixturevalue("installed_for_clusters" if clusters else "installed")
    run_document(tutorial, folder, environment)
