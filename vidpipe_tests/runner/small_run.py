"""Runs the small graph over everything due in a process of its own: `python -m … HOME URI DATABASE [sleep]`.

What the tests kill. The address comes from the environment, so that it is not seen in the process list.
"""

import os
import sys
from pathlib import Path

from pydantic import SecretStr

from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.runner.small_graph import GRAPH

if __name__ == "__main__":
    home, database = sys.argv[1:3]
    uri = SecretStr(os.environ["SMALL_RUN_URI"])
    settings = Settings(home=Path(home), mongodb=MongoDB(uri=uri, database_name=database))
    with Library.open(settings, GRAPH) as library:
        report = Runner(library, Plan.make(GRAPH, settings)).run()
    sys.exit(0 if report.ok else 1)
