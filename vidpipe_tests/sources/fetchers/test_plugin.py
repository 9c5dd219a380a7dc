"""The fetcher that docs/plugins.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vidpipe.sources.fetchers import registry
from vidpipe_tests.sources.conftest import IngestHome, sha256_of

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8").partition("## Fetchers")[2]


def test_the_documented_fetcher_brings_in_its_urls(
    room: IngestHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: bytes
) -> None:
    (table,), (code,) = (re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for language in ("toml", "python"))
    information = tmp_path / "vidpipe_myarchive-1.dist-info"
    information.mkdir()
    (tmp_path / "vidpipe_myarchive.py").write_text(code)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vidpipe-myarchive\nVersion: 1\n")
    name, value = table.splitlines()[1].replace('"', "").split(" = ")
    (information / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MYARCHIVE_SERVER", room.server.add("/x.mp4", clip).removesuffix("/x.mp4"))
    registry._plugins.cache_clear()
    try:
        outcome = room.add_one("myarchive://x")
    finally:
        monkeypatch.undo()
        registry._plugins.cache_clear()
    assert (outcome.video, outcome.error) == (sha256_of(clip), None)
