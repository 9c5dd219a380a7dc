"""What tests of mirrors share: a library with a mirror, and what a mirror contains."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, select, text

from vidpipe.datasets.mirror.sync import MirrorReport, mirror
from vidpipe.datasets.mirror.tables import FACTS, METADATA
from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.settings.datasets import Mirror

Contents = dict[str, list[tuple[Any, ...]]]


def mirrored_to(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"mirror": Mirror(url=SecretStr(url))})


def engine_of(driver_url: str) -> Engine:
    password = make_url(driver_url).password if "mysql" in driver_url else None
    return create_engine(driver_url, connect_args={"password": str(password).encode()} if password else {})


def contents(driver_url: str, *, facts: bool = False) -> Contents:
    """Table -> its rows, in order of their keys."""
    engine = engine_of(driver_url)
    tables = [*METADATA.sorted_tables, *([FACTS] if facts else [])]
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in tables
        }
    engine.dispose()
    return found


def query(driver_url: str, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    engine = engine_of(driver_url)
    with engine.begin() as connection:
        done = connection.execute(text(statement), values)
        found = [tuple(row) for row in done] if done.returns_rows else []
    engine.dispose()
    return found


def rebuilt(library: Library, driver_url: str) -> Contents:
    """What a mirror that is written again contains."""
    mirror(library, rebuild=True)
    return contents(driver_url)


def nothing_written(report: MirrorReport) -> bool:
    return not any((*report.written.values(), *report.removed.values()))
