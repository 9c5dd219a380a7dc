"""A library of many videos without as many files: real clips go through the real stages, and each is then put into
MongoDB many times over, as other videos with names of their own.

A copy has what its prototype has: results, versions, errors. What depends on the name follows it, so that a run finds
every copy current. No file belongs to a copy: only stages that need none (label) can run over them.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidpipe.library.library import Library
from vidpipe.library.videos import chunked
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.contract import INGEST
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

PROTOTYPES = 50
_SIZES = ("320x180", "640x360", "180x320", "480x360")
_COLORS = ("red", "navy", "white", "black", "darkgreen", "orange", "gray")
_TEXT = """
the a of and river harbour goal team market news rain garden music train night street happy terrible slow engine
lesson recipe mountain camera children history report weather interview dance winter
"""


def make_prototypes(folder: Path, count: int = PROTOTYPES) -> list[Path]:
    """Clips of one to three seconds, some with sound, some with up to 60 subtitles; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"prototype-{number:02d}.mkv"
        paths.append(path)
        if path.exists():
            continue
        seconds = 1 + number % 3
        picture = f"color=c={_COLORS[number % 7]}:size={_SIZES[number % 4]}:rate={(10, 25, 30)[number % 3]}"
        inputs = ["-f", "lavfi", "-t", str(seconds), "-i", picture]
        if number % 2:
            inputs += ["-f", "lavfi", "-t", str(seconds), "-i", "sine=frequency=330:sample_rate=22050"]
        if number % 3 == 0:
            subtitles = path.with_suffix(".srt")
            subtitles.write_text(_subtitles(number))
            inputs += ["-i", str(subtitles)]
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-c:s", "srt"]
        title = ["-metadata", f"title=Prototype {number}"] if number % 5 == 0 else []
        whole = path.with_suffix(".part.mkv")
        command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *inputs, *codecs, *title, str(whole)]
        subprocess.run(command, check=True, timeout=60)
        whole.rename(path)
    return paths


def _subtitles(number: int) -> str:
    """Up to 60 cues within the clip's length."""
    pick = random.Random(number)
    words = _TEXT.split()
    count = 5 + (number * 7) % 56
    lines = []
    for cue in range(count):
        text = " ".join(pick.choice(words) for _ in range(pick.randint(3, 9))).capitalize()
        start_ms = cue * 15
        lines.append(f"{cue + 1}\n00:00:00,{start_ms:03d} --> 00:00:00,{start_ms + 14:03d}\n{text}.\n")
    return "\n".join(lines)


#: Fills in what a copy has of its own: takes its number and document, returns its scenes.
Own = Callable[[int, dict[str, Any]], list[dict[str, Any]]]


def fill(library: Library, settings: Settings, clips: list[Path], videos: int, own: Own = lambda *_: []) -> None:
    """Takes `clips` through all stages, then brings the library to `videos` documents, the clips' own included."""
    for clip in clips:
        stat = clip.stat()
        facts = IngestFacts(
            path=str(clip.absolute()), size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns, referenced=True,
            names=(clip.name,),
        )  # fmt: skip
        library.videos.add(hashlib.sha256(clip.read_bytes()).hexdigest(), facts)
    plan = Plan.make(GRAPH, settings)
    report = Runner(library, plan).run()
    plan.close()
    if not report.ok:
        raise SystemExit(f"the prototypes did not get through: {[str(event.error) for event in report.failures[:3]]}")
    prototypes = list(library.collections["videos"].find())
    copies = _copies(prototypes, videos - len(prototypes))
    for numbers in chunked(range(videos - len(prototypes)), 1000):
        made = [next(copies) for _ in numbers]
        scenes = [row for number, copy in zip(numbers, made, strict=True) for row in own(number, copy)]
        library.collections["videos"].insert_many(made, ordered=False)
        if scenes:
            library.collections["scenes"].insert_many(scenes, ordered=False)


def _copies(prototypes: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        prototype = prototypes[number % len(prototypes)]
        copy = deepcopy(prototype)
        copy["_id"] = hashlib.sha256(f"copy {number}".encode()).hexdigest()
        copy["added_at"] = datetime.now(UTC)
        name = f"{'one-in-hundred' if number % 100 == 0 else 'copy'}-{number:06d}.mkv"
        facts = IngestFacts.model_validate(prototype[INGEST]).model_copy(update={"names": (name,), "urls": ()})
        copy[INGEST] = facts.model_dump()
        stages = copy["stages"]
        stages[INGEST]["data"] = GRAPH.data_versions(INGEST, facts)
        for stage in GRAPH:
            stages[stage.name]["commit"] = uuid.uuid4().hex[:16]
            stages[stage.name]["inputs"] = GRAPH.inputs(stage.name, stages)
        yield copy
