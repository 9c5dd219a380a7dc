"""Runs the small graph over everything due in a process of its own: `python -m … HOME DATABASE`.

What the tests kill. The address comes from the environment, so that it is not seen in the process list. Also from the
environment: a machine to be another one than this, a shorter lease, a setting, and where the process stops itself.
"""

import os
import signal
import sys
from pathlib import Path

from pydantic import SecretStr

from vidpipe.library import leases
from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.library.states import note_launch
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB, SceneDetection
from vidpipe_tests.runner.small_graph import GRAPH


def _be_another_machine(name: str) -> None:
    leases.machine_name = lambda: name


def _shorten_leases(lease_s: float) -> None:
    leases.LEASE_S = lease_s


def _stop_in_first_commit() -> None:
    """As a machine that is suspended after the scenes and the lineage, before the commit point."""
    take = Changes.take

    def take_later(changes: Changes, count: int = 1) -> range:
        Changes.take = take  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGSTOP)
        return take(changes, count)

    Changes.take = take_later  # type: ignore[method-assign]


# not only in the main process: the process of an isolated retry imports this module, too
if "SMALL_RUN_MACHINE" in os.environ:
    _be_another_machine(os.environ["SMALL_RUN_MACHINE"])
if "SMALL_RUN_LEASE_S" in os.environ:
    _shorten_leases(float(os.environ["SMALL_RUN_LEASE_S"]))

if __name__ == "__main__":
    home, database = sys.argv[1:3]
    uri = SecretStr(os.environ["SMALL_RUN_URI"])
    threshold = float(os.environ.get("SMALL_RUN_THRESHOLD", "0")) or None
    settings = Settings(
        home=Path(home),
        mongodb=MongoDB(uri=uri, database_name=database),
        scene_detection=SceneDetection(default_threshold=threshold),
    )
    if "SMALL_RUN_STOPS" in os.environ:
        _stop_in_first_commit()
    with Library.open(settings, GRAPH) as library:
        plan = Plan.make(GRAPH, settings)
        if "SMALL_RUN_LAUNCHED" in os.environ:  # by a sensor
            due = list(library.states.due(plan.specs))
            note_launch(library.collections["videos"], "prepare", plan.specs, due)
        report = Runner(library, plan).run()
    sys.exit(0 if report.ok else 1)
