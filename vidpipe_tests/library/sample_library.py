"""A library with known contents, made by the real runner and commits.

Its stages use the real result models and return what is written here for each file name instead of reading a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from vidpipe.library.library import Library
from vidpipe.media.facts import AudioStream, ColorShare, Damage, Scene, SceneStats, SubtitleCue
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.sources.records import SourceRecord, StoredVideo
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, StageError, StageFunction, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.results import Categories, Descriptions, Metadata, SceneDescription, Scenes, Sentiment, Tag, Tags

_STATS = SceneStats(
    brightness=0.5, contrast=0.2, saturation=0.3, motion=0.1, colors=(ColorShare(name="blue", share=0.6),)
)

#: file name -> what is known of it. `scenes`: (start_s, end_s, description); `labels`, `source_title`: of its source.
CONTENTS: dict[str, dict[str, Any]] = {
    "harbour.mp4": {
        "duration_s": 600.0, "size": (1920, 1080), "resolution": "Full HD", "codec": "h264", "title": "Harbour at_dawn",
        "scenes": [(0.0, 200.0, "A lighthouse stands above the harbour."), (200.0, 600.0, "Fishing boats leave.")],
        "text": "A harbour with a lighthouse and fishing boats.", "tags": ["Night-time", "Extended Play"],
        "category": "Documentary", "sentiment": "positive", "cue": "Good morning, sailors",
    },
    "race.mkv": {
        "duration_s": 45.5, "size": (3840, 2160), "resolution": "4K", "codec": "hevc", "title": None,
        "scenes": [(0.0, 45.5, "A red car overtakes a blue car.")],
        "text": "A red car and a blue car in a race.", "tags": ["High Resolution", "Fast-paced"],
        "category": "Sports", "sentiment": "no basis", "cue": "",
        "labels": ("Motor sport", "=1+1"), "source_title": "GrandPrix_2019",
    },
    "=SUM(A1) [red]evil[/red]\x1b[2J.mp4": {
        "duration_s": 5.0, "size": (640, 360), "resolution": "SD", "codec": "av1", "title": "@cmd|' /C calc'!A0",
        "scenes": [(0.0, 5.0, "A blue car is parked.")], "text": "-A parked blue car.", "tags": ["Short Clip"],
        "category": "Unclassified", "sentiment": "negative", "cue": "",
        "damage": "Damaged: 3 errors. What decodes was processed.",
    },
}  # fmt: skip
#: Further videos of other tests: a table of its own, because test modules share a process in any
#: order, and `fill` shall not put what another module brought.
MORE: dict[str, dict[str, Any]] = {}
HOSTILE = "=SUM(A1) [red]evil[/red]\x1b[2J.mp4"
#: A file whose stage fails.
BROKEN = "broken.mp4"


def sha256_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _known(name: str) -> dict[str, Any]:
    return CONTENTS[name] if name in CONTENTS else MORE[name]


def url_of(name: str) -> str:
    return f"https://videos.example/{'hostile.mp4' if name == HOSTILE else name}"


def _metadata(name: str) -> Metadata:
    known = _known(name)
    width, height = known["size"]
    cues = (SubtitleCue(stream=2, start_s=1.0, end_s=2.0, text=known["cue"]),) if known["cue"] else ()
    return Metadata(
        container="mov", duration_s=known["duration_s"], size_bytes=1000, video_stream=0, video_codec=known["codec"],
        coded_width=width, coded_height=height, width=width, height=height, resolution=known["resolution"],
        title=known["title"], audio=(AudioStream(index=1, codec="aac", channels=2),), cues=cues, frame_rate=25.0,
    )  # fmt: skip


def _scenes(name: str) -> Scenes:
    spans = _known(name)["scenes"]
    rows = [
        Scene(index=number, start_s=start, end_s=end, start_frame=int(start * 25), end_frame=int(end * 25),
              thumbnail=f"data/derived/{number}.jpg", stats=_STATS)
        for number, (start, end, _) in enumerate(spans)
    ]  # fmt: skip
    damage = Damage(errors=3, sentence=_known(name)["damage"]) if "damage" in _known(name) else None
    return Scenes(scenes=tuple(rows), count=len(rows), stats=_STATS, damage=damage, poster="data/derived/0.jpg")


def _descriptions(name: str) -> Descriptions:
    said = [
        SceneDescription(index=number, description=text, described_by="sample-model")
        for number, (_, _, text) in enumerate(_known(name)["scenes"])
    ]
    return Descriptions(text=_known(name)["text"], model="sample-model", measured=False, scenes=tuple(said))


def _sentiment(name: str) -> Sentiment:
    label = _known(name)["sentiment"]
    score = {"positive": 0.7, "negative": -0.6}.get(label)
    return Sentiment(label=label, score=score, read_from="description" if score else "nothing")


def _tags(name: str) -> Tags:
    return Tags(tags=tuple(Tag(tag=tag, rule=tag.lower(), evidence="it says so") for tag in _known(name)["tags"]))


def _categories(name: str) -> Categories:
    return Categories(category=_known(name)["category"], score=1.0, reason="it says so")


def _giving(make: Any) -> StageFunction:
    def function(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in items:
            name = item["ingest.names"][0]
            if name == BROKEN:
                yield Outcome(item.sha256, error=StageError(f"{name} is no video.", "Fetch it again."))
            else:
                yield Outcome(item.sha256, make(name))

    return function


def _stage(name: str, result: type[StageResult], make: Any, after: tuple[str, ...], stored_as: str = "") -> Stage:
    return Stage(
        name=name, job="label", description=name, result=result, function=_giving(make), stored_as=stored_as,
        reads=("ingest.names", *after), batch_size=16,
    )  # fmt: skip


GRAPH = StageGraph(
    (
        _stage("metadata", Metadata, _metadata, ()),
        _stage("scenes", Scenes, _scenes, ("metadata.duration_s",)),
        _stage("descriptions", Descriptions, _descriptions, ("scenes.scenes",), "description"),
        _stage("sentiment", Sentiment, _sentiment, ("descriptions.text",)),
        _stage("tags", Tags, _tags, ("descriptions.text",), "tags"),
        _stage("categories", Categories, _categories, ("tags.tags",), "category"),
    )
)


def put(library: Library, name: str) -> str:
    """Records the file `name`, as ingest does; nothing is computed yet. Returns its sha256."""
    sha256, url = sha256_of(name), url_of(name)
    known = CONTENTS.get(name, {})
    record = SourceRecord(
        id=sha256[:16], url=url, state="stored", attempts=1, video=sha256, file_name=name,
        title=known.get("source_title"), labels=known.get("labels", ()),
    )  # fmt: skip
    path = f"data/media/{sha256[:2]}/{sha256}.mp4"
    video = StoredVideo(sha256=sha256, path=path, size_bytes=1000, modified_ns=1, file_name=name, url=url)
    library.sources.record_stored(record, video)
    return sha256


def plan_of(library: Library) -> Plan:
    return Plan.make(GRAPH, library.settings)


def fill(library: Library, *names: str) -> Plan:
    """Add `names` (none given: all of CONTENTS) to the library and run every stage over them."""
    for name in names or CONTENTS:
        put(library, name)
    plan = plan_of(library)
    Runner(library, plan).run()
    return plan
