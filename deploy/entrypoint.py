"""Starts a command in the image: entrypoint.py COMMAND [ARGUMENT ...].

Before it becomes the command, it creates the home if its folder is empty, and sets the variables that Dagster and
Celery read: these follow from [Cluster]. Dagster's launchers start runs with `dagster api execute_run`.
"""

import os
import subprocess
import sys
from pathlib import Path

from vidpipe.operations.services.state import dagster_home
from vidpipe.settings import load

home = Path(os.environ["VIDPIPE_HOME"])
if not (home / "config.ini").exists():
    subprocess.run(["vidpipe", "init", str(home)], check=True, stdout=subprocess.DEVNULL)
settings = load(home).settings
os.environ.update(settings.cluster.environment)
os.environ.setdefault("DAGSTER_HOME", str(dagster_home(settings)))
dagster_home(settings).mkdir(parents=True, exist_ok=True)
os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
