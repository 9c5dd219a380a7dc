"""Dagster's settings for several machines: its history in PostgreSQL, and the launcher of [Cluster].

Secrets are only named there; they are in the variables of `Cluster.environment`. Runs in containers get these from the
entry point of the image (deploy/entrypoint.py).
"""

import os
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from vidpipe.errors import LoginRejectedError, SettingsError, UnavailableError
from vidpipe.settings import Settings

#: The queue of runs that need no GPU.
CPU_QUEUE = "cpu"
_START_TIMEOUT_S = {"celery": 7 * 86_400, "docker": 3600, "k8s": 3600}
#: Run tag: the queue.
QUEUE_TAG = "dagster-celery/queue"


def configure_cluster(config: dict[str, Any], settings: Settings) -> None:
    """Add to the content of a dagster.yaml what [Cluster] asks for.

    Raises:
        SettingsError: The launcher lacks an address.
    """
    cluster = settings.cluster
    if cluster.postgres.get_secret_value():
        config["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    if cluster.launcher == "process":
        return
    second = ("Broker", cluster.broker.get_secret_value()) if cluster.launcher == "celery" else ("Image", cluster.image)
    for name, value in (("Postgres", cluster.postgres.get_secret_value()), second):
        if not value:
            raise SettingsError(
                f"[Cluster] Launcher = {cluster.launcher} needs {name}.",
                f"Set VIDPIPE_CLUSTER_{name.upper()}, or write {name} to config.local.ini.",
            )
    config["run_launcher"] = _LAUNCHERS[cluster.launcher](settings)
    # a launched run waits for a free worker, whose lost ones `end_lost_runs` ends, or for an image or a new node
    config["run_monitoring"]["start_timeout_seconds"] = _START_TIMEOUT_S[cluster.launcher]
    config["run_coordinator"] = {
        "module": "vidpipe.pipeline.run_coordinator", "class": "GpuRunCoordinator", "config": config.pop("run_queue"),
    }  # fmt: skip
    # leases keep two runs off one video, so runs of the same step may work side by side
    config["concurrency"]["runs"]["tag_concurrency_limits"] = []


#: Key of [Cluster] with the address of a server -> what connects to it.
ADDRESSES: dict[str, Callable[[str], Any]] = {
    "Postgres": lambda address: import_module("psycopg2").connect(address, connect_timeout=10).close(),
    "Broker": lambda address: import_module("kombu").Connection(address, connect_timeout=10).connect(),
}
#: In the class or text of an error: redis-py, amqp and libpq have none for this in common.
_LOGIN_REJECTED = re.compile(r"^AuthenticationError|^AccessRefused|authentication failed|no password supplied")


def check_server(settings: Settings, key: str) -> str:
    """Connect to the server at one of the `ADDRESSES` of [Cluster].

    Returns:
        Its host and port; empty if the address is not set.

    Raises:
        LoginRejectedError: It rejects user or password.
        UnavailableError: It cannot be used for another reason.
        SettingsError: Its driver is not installed.
    """
    address = getattr(settings.cluster, key.lower()).get_secret_value()
    # not urlsplit, which takes a part of a password with a / in it for the host
    host: str = address.partition("://")[2].rpartition("@")[2].partition("/")[0]
    try:
        if address:
            ADDRESSES[key](address)
    except ImportError as error:
        raise SettingsError(f"[Cluster] {key}: {error}.", "Run `pip install 'vidpipe[cluster]'`.") from error
    except Exception as error:  # each driver and transport has its own
        said = " ".join(str(error).split())
        if _LOGIN_REJECTED.search(f"{type(error).__name__}: {said}"):
            where = f"VIDPIPE_CLUSTER_{key.upper()} or {key} in config.local.ini"
            raise LoginRejectedError(f"{key} at {host} rejects the login: {said}", f"Correct {where}.") from None
        raise UnavailableError(
            f"{key} at {host} cannot be used: {said}", f"Check that server and [Cluster] {key}."
        ) from None
    return host


def _celery(settings: Settings) -> dict[str, Any]:
    return {
        "module": "dagster_celery.launcher",
        "class": "CeleryRunLauncher",
        "config": {
            "broker": {"env": "CELERY_BROKER_URL"},
            "backend": {"env": "CELERY_RESULT_BACKEND"},
            "default_queue": CPU_QUEUE,
        },
    }


def _docker(settings: Settings) -> dict[str, Any]:
    cluster = settings.cluster
    container: dict[str, Any] = {"auto_remove": True, "volumes": list(cluster.docker_volumes)}
    if settings.qwen_vl.backend == "qwen":  # this launcher reads no tags of runs: each container gets the GPUs
        container["device_requests"] = [{"count": -1, "capabilities": [["gpu"]]}]
    variables = [*cluster.environment, *cluster.docker_variables]
    config = {"image": cluster.image, "env_vars": variables, "container_kwargs": container}
    network = {"network": cluster.docker_network} if cluster.docker_network else {}
    return {"module": "dagster_docker", "class": "DockerRunLauncher", "config": config | network}


def _k8s(settings: Settings) -> dict[str, Any]:
    cluster = settings.cluster
    # runs do not call Kubernetes' API
    pod = {"automount_service_account_token": False, "security_context": {"run_as_non_root": True}}
    config = {
        "job_image": cluster.image,
        "job_namespace": cluster.kubernetes_namespace,
        "env_secrets": [cluster.kubernetes_secret] if cluster.kubernetes_secret else [],
        "service_account_name": "default",
        "load_incluster_config": "KUBERNETES_SERVICE_HOST" in os.environ,
        "dagster_home": "/home/vidpipe/data/dagster",
        "instance_config_map": "none",  # required, but used by Dagster's chart only
        "run_k8s_config": {"pod_spec_config": pod, "job_spec_config": {"ttl_seconds_after_finished": 3600}},
    }
    return {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}


_LAUNCHERS = {"celery": _celery, "docker": _docker, "k8s": _k8s}
