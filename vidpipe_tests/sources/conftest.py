"""What the ingest tests share: small real clips, a server with faults, a home that may ask it, a store of records."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vidpipe.settings import Settings
from vidpipe.settings.operation import Download
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.sources.records import USER_FIELDS, IngestOutcome, SourceRecord, StoredVideo
from vidpipe_tests.clips import color_cuts, moving
from vidpipe_tests.fault_server import FaultServer

Write = Callable[[str, bytes], Path]


class MemorySources:
    """A whole `SourceStore`, in memory."""

    def __init__(self) -> None:
        self.records: dict[str, SourceRecord] = {}
        self.videos: dict[str, list[StoredVideo]] = {}
        self.saved: list[SourceRecord] = []
        self.tombstones: dict[str, str] = {}
        self._lock = threading.Lock()

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        with self._lock:
            return {source_id: self.records[source_id] for source_id in ids if source_id in self.records}

    def save(self, record: SourceRecord, user_fields: Collection[str] = ()) -> None:
        with self._lock:
            values = record.model_dump()
            known = self.records.get(record.id)
            if known is not None:
                values.update({name: getattr(known, name) for name in USER_FIELDS - set(user_fields)})
            self.records[record.id] = SourceRecord.model_validate(values)
            self.saved.append(record)

    def forgotten(self, sha256: str, *, recall: bool) -> str | None:
        found = self.tombstones.pop(sha256, None) if recall else self.tombstones.get(sha256)
        return f" on {found}" if found else None

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        self.save(record)
        with self._lock:
            self.videos.setdefault(video.sha256, []).append(video)


class IngestHome:
    """One home with its ingest: settings, records, and `add` that takes inputs as a user gives them."""

    def __init__(self, home: Path, server: FaultServer) -> None:
        self.home = home
        self.server = server
        self.settings = self.with_download()
        self.sources = MemorySources()

    def with_download(self, **changes: Any) -> Settings:
        quick: dict[str, Any] = {
            "backoff": 0.01, "retries": 3, "connect_timeout": 10.0, "read_timeout": 15.0, "min_free_mb": 0,
            "allowed_private": (f"127.0.0.1:{self.server.port}",),
        }  # fmt: skip
        self.settings = Settings(home=self.home, download=Download(**{**quick, **changes}))
        return self.settings

    def add(self, *inputs: str | Path, **how: Any) -> list[IngestOutcome]:
        run = {name: how.pop(name) for name in ("refresh", "retry", "include_forgotten") if name in how}
        gathered = gather(inputs, **how)
        outcomes = Ingest(self.settings, self.sources).run(gathered.requests, **run)
        return outcomes + gathered.problems

    def add_one(self, source: str | Path, **how: Any) -> IngestOutcome:
        (outcome,) = self.add(source, **how)
        return outcome

    @property
    def media(self) -> Path:
        return self.settings.media_directory

    def stored_files(self) -> list[Path]:
        return sorted(path for path in self.media.glob("??/*") if path.is_file())

    def partial_files(self) -> list[Path]:
        return sorted((self.media / "incoming").glob("*.part"))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_stored(room: IngestHome, url: str, content: bytes) -> None:
    """Adds `url` and finds `content` in the store, whole and alone."""
    outcome = room.add_one(url)
    assert outcome.state == "stored", outcome.error
    assert outcome.video == sha256_of(content)
    (path,) = room.stored_files()
    assert path.read_bytes() == content
    assert path.name == f"{sha256_of(content)}.mp4"
    assert room.partial_files() == []


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real MP4 of some hundred kilobytes that can be played before it is whole."""
    path = moving(
        tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=2, audio="sine", options=("-movflags", "+faststart")
    )
    data = path.read_bytes()
    assert len(data) > 100_000
    return data


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Another video."""
    return color_cuts(tmp_path_factory.mktemp("clip") / "other.mp4", ("white", "navy")).read_bytes()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def room(home: Path, server: FaultServer) -> IngestHome:
    return IngestHome(home, server)


@pytest.fixture
def file_of(tmp_path: Path) -> Write:
    """Writes a file below the test's folder."""

    def write(name: str, content: bytes) -> Path:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write
