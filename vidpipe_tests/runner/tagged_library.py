"""Videos of the sample library under the real rules: stages with known results, then the real tags and categories.

`python -m … HOME DATABASE KILL_AFTER` sweeps them in a process of its own, which kills itself after so many results.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.stages import categories, tags
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.library import sample_library

#: file name -> as in the sample library; every seventh is in 4K.
NAMES = [f"video-{number:02d}.mp4" for number in range(42)]
for _number, _name in enumerate(NAMES):
    _known = sample_library.CONTENTS["race.mkv" if _number % 7 == 0 else "harbour.mp4"]
    sample_library.MORE[_name] = {**_known, "duration_s": 10.0 + _number}

_MADE = tuple(stage for stage in sample_library.GRAPH if stage.name not in ("tags", "categories"))
GRAPH = StageGraph((*_MADE, tags.STAGE, categories.STAGE))
#: The same without the sweep.
PLAIN = StageGraph((*_MADE, *(replace(stage, quick=False) for stage in (tags.STAGE, categories.STAGE))))

LONG: dict[str, Any] = {"name": "long", "tags": ["Long"], "metadata_conditions": [{"duration_gt": 30}]}
SHARP: dict[str, Any] = {"name": "sharp", "tags": ["Sharp"], "metadata_conditions": [{"resolution": "4K"}]}


def write_rules(settings: Settings, rules: Sequence[dict[str, object]], sports: Sequence[str] = ("Sharp",)) -> None:
    """The tag rules, and one category for videos with one of the tags `sports`."""
    folder = settings.home / "rules"
    folder.mkdir(exist_ok=True)
    (folder / "custom_tags.json").write_text(json.dumps({"rules": list(rules)}))
    document = {"categories": [{"name": "Sports", "tags": list(sports)}]}
    (folder / "categories.json").write_text(json.dumps(document))


class KillsItself:
    def __init__(self, after: int) -> None:
        self.left = after

    def on_event(self, event: StageEvent) -> None:
        self.left -= event.state == "computed"
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...


if __name__ == "__main__":
    home, database, after = sys.argv[1:4]
    uri = SecretStr(os.environ["SMALL_RUN_URI"])
    settings = Settings(home=Path(home), mongodb=MongoDB(uri=uri, database_name=database))
    with Library.open(settings, GRAPH) as library:
        Runner(library, Plan.make(GRAPH, settings), KillsItself(int(after)), sweep_size=8).run()
