"""A small library of generated clips that went through all stages, and exports of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

from vidpipe.datasets.clips.maker import ClipMaker
from vidpipe.datasets.exporters.exporter import ExportJob, exporter
from vidpipe.datasets.item import DatasetItem
from vidpipe.datasets.items import Span, items_of
from vidpipe.datasets.media import ItemMedia
from vidpipe.datasets.target import FolderTarget, Target
from vidpipe.library.library import Library
from vidpipe.media.encode import EncodeFormat
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings, init_home
from vidpipe.sources.ingest import Ingest
from vidpipe.sources.inputs import gather
from vidpipe.sources.source_data import Segment
from vidpipe.sources.source_request import SourceRequest
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.conftest import settings_of

#: The clips of `small_library`: two colours of half a second each; what is said, not an MP4; a hostile name.
CUTS, TALK, HOSTILE = "cuts.mp4", "talk.mkv", "=1+1 ../<video> ünï \U0001f3a5.mp4".replace("/", "\u2215")
#: Their labels.
LABELS = {CUTS: ("=cmd|'/C calc'!A0", "Seaside"), TALK: ("../../etc/passwd",), HOSTILE: ()}


@dataclass(frozen=True)
class ExportedLibrary:
    """A library whose videos are through all stages.

    Attributes:
        settings: Its settings.
        library: The library, open.
        videos: File name -> sha256.
        items: File name -> its item: the whole video.
        scenes: Video -> the times of its scenes.
    """

    settings: Settings
    library: Library
    videos: dict[str, str]
    items: dict[str, DatasetItem]
    scenes: dict[str, list[Span]]

    def parts(self, *names: str) -> list[DatasetItem]:
        """The scenes of videos as items."""
        ids, scenes = [self.videos[name] for name in names], self.scenes
        found = items_of(
            self.library, ids, specs={}, versions={}, questions={}, spans=lambda view: scenes[view["video"]["sha256"]]
        )
        return list(found)


@pytest.fixture(scope="session")
def small_library(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedLibrary]:
    """Three clips of about a second; for tests that only look, or leave everything as it was."""
    folder = tmp_path_factory.mktemp("clips")
    clips.color_cuts(folder / CUTS, ("red", "blue"), audio="sine", seconds_each=0.6)
    clips.subtitled(folder / TALK, [(0.2, 0.9, "What a wonderful, happy lighthouse")], seconds=1.0)
    clips.moving(folder / HOSTILE, size="180x320", seconds=1.0, fps="30000/1001")
    segments = {CUTS: (Segment(start_s=0.0, end_s=0.6, labels=("red, wave",)),)}
    requests = [
        replace(one, labels=LABELS[one.path.name], segments=segments.get(one.path.name, ()))
        for one in gather([str(folder)]).requests
        if one.path
    ]
    with exported_library(tmp_path_factory.mktemp("home"), mongod_uri, requests) as library:
        yield library


@contextmanager
def exported_library(home: Path, mongod_uri: str, requests: Sequence[SourceRequest]) -> Iterator[ExportedLibrary]:
    """A library of what is requested; what is no video is left out."""
    with settings_of(home, mongod_uri) as settings:
        init_home(settings.home)
        graph = build_graph(settings)
        with Library.open(settings, graph) as library, closing(Plan.make(graph, settings)) as plan:
            outcomes = Ingest(settings, library.sources).run(requests)
            report = Runner(library, plan).run()
            assert not report.failures, report.failures
            videos = {Path(outcome.input).name: outcome.video for outcome in outcomes if outcome.video}
            versions = {"custom_tags": plan.resources["custom_tags"].version}
            found = items_of(library, list(videos.values()), specs=plan.specs, versions=versions, questions={})
            by_video = {item.video: item for item in found}
            scenes = {
                video: [(one["start_s"], one["end_s"]) for one in rows]
                for video, rows in library.videos.scenes(list(by_video)).items()
            }
            items = {name: by_video[video] for name, video in videos.items() if video in by_video}
            yield ExportedLibrary(settings, library, videos, items, scenes)


@dataclass(frozen=True)
class Exported:
    """What an export did: keys of what it wrote, and error messages of what it left out."""

    done: list[str]
    failed: dict[str, str]


def export_items(
    library: ExportedLibrary, file_format: str, place: Path | Target, items: Iterable[DatasetItem], **options: object
) -> Exported:
    """Export items as the command does."""
    exported, cancelled = Exported([], {}), Event()
    target = FolderTarget(place, file_format) if isinstance(place, Path) else place
    job = ExportJob(
        items,
        ItemMedia(library.library, ClipMaker(library.library, EncodeFormat(), cancelled), cancelled),
        target,
        options,
        failed=lambda item, error: exported.failed.update({item.key: error.message}),
        done=lambda item: exported.done.append(item.key),
    )
    exporter(file_format)(job)
    target.finish()
    return exported


def contents(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def broken(item: DatasetItem) -> DatasetItem:
    """An item whose video is lost."""
    return item.model_copy(update={"key": "f" * 16, "video": "f" * 64, "path": "data/media/ff/lost.mp4"})
