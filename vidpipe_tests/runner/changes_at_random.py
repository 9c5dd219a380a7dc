"""Edits, applies and undoes rules and gives verdicts until it is killed: `python -m … HOME DATABASE SEED`."""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.rule_history import rule_versions
from vidpipe.runner.label_now import label_now
from vidpipe.runner.plan import Plan, record_specs
from vidpipe.runner.rule_changes import ProposedRules
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.library.sample_library import sha256_of
from vidpipe_tests.runner.tagged_library import GRAPH, LONG, NAMES, SHARP, write_rules

_BOATS: dict[str, Any] = {
    "id": "boats", "scope": "scene", "selections": {"boats": {"description|word": "boats"}}, "tags": ["Boats"],
}  # fmt: skip


def change(library: Library, chance: random.Random) -> None:
    """Do one thing of all that people do."""
    settings = library.settings
    match chance.randrange(6):
        case 0:
            every: list[dict[str, Any]] = [LONG, SHARP, _BOATS]
            rules = [rule for rule in every if chance.random() < 0.7] or [LONG]
            write_rules(settings, rules, chance.choice([["Sharp"], ["Long"]]))
        case 1:
            seconds = chance.choice([20, 30, 40])
            rule = {"id": "longer", "selections": {"s": {"duration|gt": seconds}}, "tags": ["Longer", "Long"]}
            drafts = {"l.yaml": json.dumps({"rules": [rule]})}
            ProposedRules.of(settings, drafts).put(library, "command", changed={})
        case 2:
            if numbers := [one.number for one in rule_versions(library.collections["lineage"])]:
                number = chance.choice(numbers)
                proposed = ProposedRules.returning(library, settings, number, discard_edits=True)
                proposed.put(library, "command", changed={})
        case 3 | 4:
            video, answer = sha256_of(chance.choice(NAMES[:6])), chance.choice(["yes", "no", None])
            start_s = chance.choice([None, 3.0])
            kind = "tag" if start_s or chance.random() < 0.7 else "category"
            tag = chance.choice(["Long", "Boats"] if kind == "tag" else ["Sports", "Other"])
            library.verdicts.put(video, tag, answer, "ada", kind=kind, start_s=start_s)  # type: ignore[arg-type]
            label_now(library, Plan.make(GRAPH, settings), [video])
        case _:
            plan = Plan.make(GRAPH, settings)
            record_specs(library, plan)
            Runner(library, plan, sweep_size=8).run()


if __name__ == "__main__":
    home, database, seed = sys.argv[1:4]
    mongodb = MongoDB(uri=SecretStr(os.environ["SMALL_RUN_URI"]), database_name=database)
    with Library.open(Settings(home=Path(home), mongodb=mongodb), GRAPH) as opened:
        print("begun", flush=True)
        chances = random.Random(int(seed))
        for _ in count():
            with suppress(VidpipeError):
                change(opened, chances)
