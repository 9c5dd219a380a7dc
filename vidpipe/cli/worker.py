"""vidpipe worker: make this machine take runs."""

import os
import sys
import time
from typing import Annotated

import typer

from vidpipe.cli.context import command_context
from vidpipe.cli.output import note
from vidpipe.errors import LoginRejectedError, SettingsError, UnavailableError
from vidpipe.library.embedded import is_embedded
from vidpipe.library.library import Library
from vidpipe.stages.registry import build_graph


def worker(
    context: typer.Context,
    queues: Annotated[
        str, typer.Option("--queues", metavar="QUEUES", help="Which runs to take: cpu, gpu or both, comma-separated.")
    ] = "cpu,gpu",
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=256, help="Runs at once. One run uses all cores of the machine.")
    ] = 1,
) -> None:
    """Take runs from the queue of [Cluster] Broker, until Ctrl-C or SIGTERM.

    Needs Launcher = celery and Postgres, a [MongoDB] URI, and a [Storage] Media that all machines reach. Waits for
    servers that do not answer yet, but not for one that rejects user or password. On Ctrl-C the runs in progress store
    what is finished and end; the rest stays due. A second Ctrl-C ends at once. Messages of Celery and the output of
    runs go to data/logs/worker.log.
    """
    settings = command_context(context).load().settings
    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names or not set(names) <= {"cpu", "gpu"}:
        raise typer.BadParameter(f"{queues!r} is not cpu, gpu or cpu,gpu.", param_hint="--queues")
    if settings.cluster.launcher != "celery":
        raise SettingsError(
            f"[Cluster] Launcher is {settings.cluster.launcher}: runs are not taken from a queue.",
            "Set Launcher = celery on all machines; see docs/cluster.md.",
        )
    if is_embedded(settings):
        raise SettingsError(
            "[MongoDB] URI is empty: this machine would work on a library of its own.",
            "Set URI to the server or replica set that all machines share.",
        )
    from vidpipe.pipeline.cluster_config import check_server  # Dagster takes a second to import
    from vidpipe.pipeline.instance import instance

    note("Connecting to MongoDB, PostgreSQL and the broker …")
    while True:
        try:
            with Library.open(settings, build_graph(settings)), instance(settings) as dagster:
                home = dagster.root_directory
                check_server(settings, "Broker")
            break
        except LoginRejectedError:
            raise
        except UnavailableError as error:
            note(f"{error} Trying again in 5 s.")  # servers may start later than this machine
            time.sleep(5)
    environment = {**os.environ, "VIDPIPE_HOME": str(settings.home), "DAGSTER_HOME": home}
    command = [
        sys.executable, "-W", "ignore:You're running the worker with superuser privileges", "-m", "celery", "--quiet",
        "--workdir", str(settings.home), "-A", "vidpipe.pipeline.celery_worker", "worker", "--queues", ",".join(names),
        "--concurrency", str(slots), "--hostname", f"vidpipe-{os.getpid()}@%h", "--without-gossip", "--without-mingle",
        "--loglevel", "WARNING", "--logfile", str(settings.data_directory / "logs" / "worker.log"),
    ]  # fmt: skip
    os.execve(sys.executable, command, environment)  # noqa: S606
