"""Sections of config.ini about parallel work: on one machine, and on several."""

import os
import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from vidpipe.settings.operation import Listed, Section

_ADDRESS = re.compile(r"((postgresql|rediss?|amqps?)://([^@/?#\[\]]*@)?[^@]*)?")


class Concurrency(Section):
    """How much is processed in parallel. Nothing here changes a result."""

    max_workers: int | None = Field(None, ge=1, le=1024)
    """Number of videos to decode in parallel; empty: one per CPU core."""
    ahead: int = Field(1000, ge=1, le=10_000_000)
    """Most videos that sensors prepare ahead of the describing model. Frames of prepared videos take disk space; too
    few let the model wait."""

    @property
    def workers(self) -> int:
        """Number of videos to decode in parallel."""
        return self.max_workers or os.cpu_count() or 1


class Cluster(Section):
    """Several machines that work on one library, see docs/cluster.md.

    All share [MongoDB] URI, Postgres and Broker, and a [Storage] Media that they can all reach. An address with a
    password is a secret: set VIDPIPE_CLUSTER_POSTGRES and VIDPIPE_CLUSTER_BROKER, or write them to config.local.ini,
    never to this file.
    """

    postgres: SecretStr = SecretStr("")
    """A postgresql:// address of a database for Dagster's history and queue; empty: SQLite in data/dagster."""
    launcher: Literal["process", "celery", "docker", "k8s"] = "process"
    """Where Dagster's runs are executed. process: on this machine; celery: on machines that `vidpipe worker` has
    joined; docker: in a container per run; k8s: in a Kubernetes job per run. All but process need Postgres; docker and
    k8s need Image."""
    broker: SecretStr = SecretStr("")
    """Launcher celery: a redis:// or amqp:// (RabbitMQ) address."""
    image: str = ""
    """Launchers docker and k8s: the image of the runs, see deploy/Dockerfile."""
    docker_network: str = ""
    """Launcher docker: the network of the containers; empty: Docker's default."""
    docker_volumes: Listed = ()
    """Launcher docker: volumes of the containers, such as /srv/vidpipe:/home/vidpipe, comma-separated."""
    docker_variables: Listed = ()
    """Launcher docker: names of environment variables that the containers get from this machine, such as
    VIDPIPE_MONGODB_URI, comma-separated."""
    kubernetes_namespace: str = Field("default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Launcher k8s: the namespace of the jobs."""
    kubernetes_secret: str = ""
    """Launcher k8s: name of a secret whose keys are the variables of the runs: VIDPIPE_CLUSTER_POSTGRES,
    VIDPIPE_MONGODB_URI and whatever else differs from config.ini of the image."""
    gpu_node_selector: Listed = ()
    """Launcher k8s: labels of the nodes with GPUs, such as cloud.google.com/gke-accelerator=nvidia-l4."""
    run_minutes: float = Field(10.0, gt=0, le=1440)
    """Length of a run in minutes: how many videos it gets follows from the times measured so far, up to the batch sizes
    of [Sensors]."""
    pools: Listed = ("gpu=1", "model=1")
    """Steps at once in Dagster's pools, in all machines together. gpu: with a model in the process (backend qwen);
    model: with model servers (backend endpoint)."""
    max_partitions: int = Field(100_000, ge=1, le=10_000_000)
    """Most videos that are partitions in Dagster: the newest, and all that failed. The others are in the library alone;
    `vidpipe partitions add` adds some back."""

    @field_validator("pools")
    @classmethod
    def _check_pools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            name, _, number = entry.partition("=")
            if name not in ("gpu", "model") or not number.isdecimal() or not 1 <= int(number) <= 10_000:
                raise ValueError(f"{entry!r} is not like gpu=4 or model=8")
        return value

    @field_validator("postgres", "broker")
    @classmethod
    def _check_address(cls, value: SecretStr) -> SecretStr:
        if not _ADDRESS.fullmatch(value.get_secret_value()):
            raise ValueError("write postgresql://, redis:// or amqp://, special characters of a password as %XX")
        return value

    @property
    def environment(self) -> dict[str, str]:
        """Variables that carry the secrets to Dagster and Celery, whose own files only name them."""
        broker = self.broker.get_secret_value()
        database = self.postgres.get_secret_value().replace("postgresql://", "postgresql+psycopg2://", 1)
        found = {"DAGSTER_POSTGRES_URL": database, "CELERY_BROKER_URL": broker}
        # RabbitMQ returns results only to the process that asked, so those go to the database
        found["CELERY_RESULT_BACKEND"] = broker if broker.startswith("redis") else f"db+{database}"
        return {name: value for name, value in found.items() if value and (broker or name == "DAGSTER_POSTGRES_URL")}

    @property
    def pool_limits(self) -> dict[str, int]:
        """Pool -> steps at once."""
        return {"gpu": 1, "model": 1} | {name: int(number) for name, number in (one.split("=") for one in self.pools)}
