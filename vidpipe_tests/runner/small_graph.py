"""A graph of three real stages that read, fail and crash on demand: what the runner is tested with.

What a stage does is steered by the files in the home, so that a changed file is a changed world.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import BaseModel

from vidpipe.settings import Settings
from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext, StageError, StageResult
from vidpipe.stages.graph import StageGraph


class Length(StageResult):
    letters: int
    parity: str


class Part(BaseModel):
    index: int
    text: str


class Parts(StageResult):
    scene_fields: ClassVar[frozenset[str]] = frozenset({"parts"})
    parts: tuple[Part, ...]
    count: int


class Said(BaseModel):
    index: int
    said: str


class Report(StageResult):
    scene_fields: ClassVar[frozenset[str]] = frozenset({"said"})
    text: str
    said: tuple[Said, ...]


def calls(settings: Settings, stage: str) -> list[str]:
    """The videos a stage's function was called for, in order, over all processes."""
    path = settings.home / f"{stage}.calls"
    return path.read_text().split() if path.exists() else []


def _note(context: StageContext, stage: str, item: Item) -> None:
    with (context.settings.home / f"{stage}.calls").open("a") as file:
        file.write(item.sha256 + "\n")


def _length(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in batch:
        _note(context, "length", item)
        name = item["ingest.names"][0]
        if (context.settings.home / f"slow-{item.sha256}").exists():
            context.cancelled.wait(0.05)
        if (context.settings.home / f"crash-{name}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (context.settings.home / f"long-{name}").exists() and context.cancelled.wait(30):
            raise Cancelled
        if (context.settings.home / f"broken-{name}").exists():
            yield Outcome(item.sha256, error=StageError(f"{name} cannot be measured.", "Mend it."))
        elif (context.settings.home / f"busy-{name}").exists():
            yield Outcome(item.sha256, error=StageError(f"{name} is busy.", transient=True))
        elif (context.settings.home / f"bug-{name}").exists():
            raise RuntimeError("a bug")
        else:
            yield Outcome(item.sha256, result=Length(letters=len(name), parity="even" if len(name) % 2 == 0 else "odd"))


def _parts(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in batch:
        _note(context, "parts", item)
        count = 2 if item["length.parity"] == "even" else 3
        yield Outcome(
            item.sha256, result=Parts(parts=[Part(index=i, text=f"part {i}") for i in range(count)], count=count)
        )


def _report(batch: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    for item in batch:
        _note(context, "report", item)
        said = [Said(index=part.index, said=part.text.upper()) for part in item["parts.parts"]]
        yield Outcome(item.sha256, result=Report(text=f"{item['length.letters']} letters", said=said))


LENGTH = Stage(
    name="length", job="prepare", description="measures the name", result=Length, function=_length,
    reads=("ingest.names",), batch_size=4,
)  # fmt: skip
PARTS = Stage(
    name="parts", job="prepare", description="cuts", result=Parts, function=_parts, reads=("length.parity",),
    settings=("scene_detection.threshold",),
)  # fmt: skip
REPORT = Stage(
    name="report", job="label", description="says", result=Report, function=_report,
    reads=("length.letters", "parts.parts"), batch_size=8,
)  # fmt: skip
GRAPH = StageGraph((LENGTH, PARTS, REPORT))
