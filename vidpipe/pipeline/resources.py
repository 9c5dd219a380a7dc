"""The resources: MongoDB, the media store, the describing model, and the library that is built on them.

Each reads the settings of its home when it is first used, so loading the definitions reads no secret. Fields that are
set replace those settings in all jobs, sensors and schedules of the definitions:

    mongodb = MongoDBResource(uri=dg.EnvVar("URI"), database="films")
    build_definitions(build_graph(settings), settings, resources={"mongodb": mongodb})
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field, PrivateAttr, SecretStr
from pymongo import MongoClient
from pymongo.database import Database

from vidpipe.dagster_mongo import MongoDBIOManager, MongoDBResource
from vidpipe.errors import SettingsError
from vidpipe.library.connection import connect
from vidpipe.library.library import Library
from vidpipe.library.videos import projection, read_fields, read_result
from vidpipe.models.builders import build_model
from vidpipe.models.describing_model import DescribingModel
from vidpipe.pipeline.started_work import StartedWork
from vidpipe.redaction import hide
from vidpipe.runner.request import RunReport
from vidpipe.settings import Settings, load
from vidpipe.settings.keys import secret_values
from vidpipe.sources.inputs import Gathered
from vidpipe.sources.records import IngestObserver, IngestOutcome
from vidpipe.stages.contract import StageResult
from vidpipe.stages.graph import StageGraph

#: Key of the IO manager that loads the stages' results.
RESULTS_IO_MANAGER = "stage_results"
_OVERRIDES = ("mongodb", "media_store", "describing_model")


def refuse_replaced_resources(run: dg.DagsterRun | None) -> None:
    """Refuse a run whose config replaces resources.

    Otherwise, anybody who can launch a run could send this home's secrets to any server, or have files written
    anywhere.

    Raises:
        SettingsError: The run config has an entry for a resource.
    """
    resources: Any = run.run_config.get("resources") if run is not None else None
    if any((resources or {}).values()):
        raise SettingsError(
            "The run config replaces resources of vidpipe.", "Replace them in Definitions or in config.ini instead."
        )


@dataclass
class InProcessRun:
    """What a run in the caller's own process shares with its op, attached to the library resource.

    Run configs hold plain data that everybody may read. An open library, a progress display or a URL with a password
    are passed on here instead. Runs that Dagster launches have none of this.

    Attributes:
        settings: The settings in force, with the options of the command.
        library: The open library; the op does not close it.
        work: The work of the stages, which the op reports.
        ingest_observer: Receives what happens to each source.
        gathered: Requests of ingest, with the secrets of their URLs.
        cancelled: Set by the caller to stop the run.
        by: Who started it (see `RunStep`).
        report: The report of the stages.
        outcomes: The outcomes of ingest.
        fault: What ended the work; raised again outside Dagster.
    """

    settings: Settings
    library: Library
    work: StartedWork | None = None
    ingest_observer: IngestObserver | None = None
    gathered: Gathered | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    by: str = "command"
    report: RunReport | None = None
    outcomes: list[IngestOutcome] | None = None
    fault: BaseException | None = None


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A resource of a home, which no run can replace."""

    home: str = Field(description="the vidpipe home, the folder of config.ini")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse a run that replaces resources."""
        refuse_replaced_resources(context.run)


class LibraryMongoDB(MongoDBResource, HomeResource):
    """The library's database: the server that [MongoDB] names, or the embedded one.

    `uri` and `database` replace the settings of the home.
    """

    uri: str = Field(default="", description="address of the server; empty: as in [MongoDB]")
    database: str = Field(default="", description="name of the database; empty: as in [MongoDB]")

    @contextmanager
    def get_client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """Connect to the library's server, and start the embedded one if it does not run."""
        with connect(_with_mongodb(_settings_of(self.home), self)) as connection:
            yield connection.client

    @contextmanager
    def get_database(self) -> Iterator[Database[dict[str, Any]]]:
        """Open the library's database."""
        with connect(_with_mongodb(_settings_of(self.home), self)) as connection:
            yield connection.database


class MediaStoreResource(HomeResource):
    """The folder of stored videos. `files.video` of an open library (`LibraryResource.opened`) gives a video's file."""

    directory: str = Field(default="", description="replaces DownloadDirectory of [Paths]")

    def apply(self, settings: Settings) -> Settings:
        """Return `settings` with this media store."""
        return _replaced(settings, "paths", {"download_directory": self.directory})


class DescribingModelResource(HomeResource):
    """The model that describes videos."""

    backend: Literal["", "statistics", "measured", "qwen", "endpoint"] = Field(
        default="", description="replaces Backend of [QwenVL]"
    )
    model: str = Field(default="", description="replaces Model of [QwenVL]")
    model_dir: str = Field(default="", description="replaces ModelDir of [QwenVL]")

    def apply(self, settings: Settings) -> Settings:
        """Return `settings` with this model."""
        values = {"backend": self.backend, "model": self.model, "model_dir": self.model_dir}
        return _replaced(settings, "qwen_vl", values)

    @contextmanager
    def get_model(self) -> Iterator[DescribingModel]:
        """Build the model, which loads its weights at first use, and release it on leaving the block.

        Raises:
            UnavailableError: A setting that it needs is missing or wrong.
        """
        with closing(build_model(self.apply(_settings_of(self.home)))) as model:
            yield model


class LibraryResource(HomeResource):
    """The library of a home.

    Dagster knows only the home: addresses and passwords stay in the settings, which each run reads again.
    """

    _overrides: tuple[Any, ...] = PrivateAttr(())
    _caller: InProcessRun | None = PrivateAttr(None)

    @classmethod
    def of(cls, home: Path, overrides: Sequence[Any] = (), caller: InProcessRun | None = None) -> LibraryResource:
        """Return the library of `home`.

        Args:
            home: The folder of config.ini.
            overrides: Other resources, which replace settings of the home.
            caller: What the caller shares, for a run in its own process.
        """
        resource = cls(home=str(home))
        resource._overrides, resource._caller = tuple(overrides), caller
        return resource

    @property
    def caller(self) -> InProcessRun | None:
        """What the caller shares, if the run is in the caller's process."""
        return self._caller

    def settings(self) -> Settings:
        """Read today's settings of the home; `redact` masks their secrets from now on.

        Raises:
            SettingsError: config.ini has an error.
        """
        settings = _settings_of(self.home)
        for override in self._overrides:
            settings = (
                _with_mongodb(settings, override) if isinstance(override, MongoDBResource) else override.apply(settings)
            )
        hide(secret_values(settings))
        return settings

    @contextmanager
    def opened(self, graph: StageGraph, settings: Settings | None = None) -> Iterator[Library]:
        """Open the library; it is closed on leaving the block.

        Raises:
            UnavailableError: MongoDB is unreachable.
        """
        with Library.open(settings or self.settings(), graph) as library:
            yield library


class StageResultIOManager(MongoDBIOManager):
    """Loads the results of stages as typed models, for assets downstream of vidpipe's."""

    _library: LibraryResource = PrivateAttr()
    _graph: StageGraph = PrivateAttr()

    @classmethod
    def of(cls, graph: StageGraph, library: LibraryResource, mongodb: MongoDBResource) -> StageResultIOManager:
        """Return the IO manager for the results of the stages of `graph`."""
        manager = cls(mongodb=mongodb, sources=dict.fromkeys(graph.names, "the library"))
        manager._graph, manager._library = graph, library
        return manager

    def load_partitions(self, asset: str, partitions: Sequence[str]) -> Mapping[str, StageResult]:
        """Return sha256 -> result of the stage `asset` of those of `partitions` that have one, with their scenes."""
        graph = self._graph
        fields = projection(graph, (), (asset,)) | {"scene_generation": 1}
        with self._library.opened(graph) as library:
            rows = {
                row["_id"]: row
                for row in library.collections["videos"].find({"_id": {"$in": list(partitions)}}, fields)
            }
            scene_fields = tuple(f"{asset}.{name}" for name in sorted(graph.result_model(asset).scene_fields))
            scenes = library.videos.scenes(list(rows)) if scene_fields else {}
        results = {}
        for sha256, row in rows.items():
            result = read_result(graph, asset, row)
            if result is not None:
                values = read_fields(graph, scene_fields, row, scenes.get(sha256, ())) if scene_fields else {}
                results[sha256] = result.model_copy(
                    update={name.partition(".")[2]: value for name, value in values.items()}
                )
        return results


def home_resources(graph: StageGraph, home: Path) -> dict[str, Any]:
    """Return the resources of the definitions, by key.

    The library takes no config, so that a run cannot name another home: with that home's settings, the access key of
    this one would be sent to whatever endpoint they name.
    """

    def library(context: dg.InitResourceContext) -> LibraryResource:
        refuse_replaced_resources(context.run)
        return LibraryResource.of(home, [getattr(context.resources, key) for key in _OVERRIDES])

    return {
        "mongodb": LibraryMongoDB(home=str(home)),
        "media_store": MediaStoreResource(home=str(home)),
        "describing_model": DescribingModelResource(home=str(home)),
        "library": dg.ResourceDefinition(
            library,
            config_schema={},
            required_resource_keys=set(_OVERRIDES),
            description="The library of the home: its settings, its database, its media store.",
        ),
        RESULTS_IO_MANAGER: dg.IOManagerDefinition(
            lambda context: StageResultIOManager.of(graph, context.resources.library, context.resources.mongodb),
            config_schema={},
            required_resource_keys={"library", "mongodb"},
            description="Loads results of stages for downstream assets.",
        ),
    }


def _settings_of(home: str) -> Settings:
    return load(Path(home)).settings


def _replaced(settings: Settings, section: str, values: Mapping[str, Any]) -> Settings:
    """Return `settings` with the non-empty `values` in a section, validated."""
    changed = {name: value for name, value in values.items() if value}
    if not changed:
        return settings
    before = getattr(settings, section)
    return settings.model_copy(update={section: type(before).model_validate({**dict(before), **changed})})


def _with_mongodb(settings: Settings, resource: MongoDBResource) -> Settings:
    """Return `settings` with the server and database of `resource`, if it names any."""
    values: dict[str, Any] = {"database_name": resource.database}
    if resource.uri:
        values |= {
            "uri": SecretStr(resource.uri),
            "timeout_s": resource.timeout_s,
            "tls_ca_file": resource.tls_ca_file,
            "tls_certificate_key_file": resource.tls_certificate_key_file,
        }
    return _replaced(settings, "mongodb", values)
