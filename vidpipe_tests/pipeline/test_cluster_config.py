"""The dagster.yaml of each launcher loads in Dagster, and becomes the containers and pods that a run needs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.test_utils import create_run_for_test
from dagster_celery.launcher import CeleryRunLauncher
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from docker.models.containers import _create_container_args
from kubernetes import client
from pydantic import SecretStr

from vidpipe.errors import LoginRejectedError, SettingsError, UnavailableError
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.assets import model_requirements
from vidpipe.pipeline.cluster_config import check_server
from vidpipe.pipeline.instance import prepare
from vidpipe.pipeline.run_coordinator import GpuRunCoordinator
from vidpipe.settings import Settings
from vidpipe.settings.cluster import Cluster
from vidpipe.settings.schema import QwenVL
from vidpipe.stages.registry import build_graph
from vidpipe_tests.datasets.sql_servers import IN_URL, postgresql
from vidpipe_tests.deploy.kubernetes_objects import check_kubernetes_object

POSTGRES, BROKER = "postgresql://vidpipe:hidden-1@127.0.0.1:1/dagster", "redis://:hidden-2@127.0.0.1:1/0"
IMAGE = "registry.example.org/vidpipe:2"
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
users: [{name: me, user: {token: none}}]
current-context: here
"""


def _settings(settings: Settings, backend: str = "statistics", **cluster: Any) -> Settings:
    values = {"postgres": SecretStr(POSTGRES), "broker": SecretStr(BROKER), "image": IMAGE} | cluster
    models = {"cluster": Cluster(**values), "qwen_vl": QwenVL(backend=backend)}  # type: ignore[arg-type]
    return settings.model_copy(update=models)


def _written(settings: Settings) -> Any:
    text = (prepare(settings) / "dagster.yaml").read_text()
    assert "hidden" not in text
    return yaml.safe_load(text)


def _launcher(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[dg.DagsterInstance, Any]:
    """The launcher of the written file, made by Dagster; the history stays a local one, which needs no server."""
    config = _written(settings)
    del config["storage"]
    for name, value in settings.cluster.environment.items():
        monkeypatch.setenv(name, value)
    (dagster_home(settings) / "local.yaml").write_text(yaml.safe_dump(config))
    opened = dg.DagsterInstance.from_config(str(dagster_home(settings)), "local.yaml")
    assert isinstance(opened.run_coordinator, GpuRunCoordinator)
    assert opened.run_coordinator.dequeue_interval_seconds == 2
    queue = opened.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == settings.services.max_runs
    assert queue.tag_concurrency_limits == []
    return opened, opened.run_launcher


def _gpu_run(opened: dg.DagsterInstance, settings: Settings) -> dg.DagsterRun:
    tags = model_requirements(build_graph(settings), settings).run_tags
    return create_run_for_test(opened, job_name="describe_list", tags=tags)


def test_without_a_launcher_only_the_history_moves_to_postgresql(settings: Settings) -> None:
    config = _written(_settings(settings, launcher="process"))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert config["run_launcher"]["class"] == "ProcessRunLauncher"
    assert "run_coordinator" not in config


@pytest.mark.parametrize(
    ("launcher", "missing", "value"),
    [
        ("celery", "Postgres", SecretStr("")),
        ("celery", "Broker", SecretStr("")),
        ("docker", "Image", ""),
        ("k8s", "Image", ""),
    ],
)
def test_what_a_launcher_lacks_is_named(settings: Settings, launcher: str, missing: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"Launcher = {launcher} needs {missing}\."):
        prepare(_settings(settings, launcher=launcher, **{missing.lower(): value}))


@pytest.mark.server
def test_a_rejected_login_is_not_an_unavailable_server(settings: Settings) -> None:
    def check(address: str) -> str:
        return check_server(_settings(settings, postgres=SecretStr(address)), "Postgres")

    with postgresql() as address:
        while True:  # it accepts connections before it answers
            with contextlib.suppress(UnavailableError):
                assert check(address) in address
                break
        for wrong in (address.replace(IN_URL, "wrong-password"), address.replace(f":{IN_URL}", "")):
            with pytest.raises(LoginRejectedError, match=r"Postgres at 127\.0\.0\.1:\d+ rejects the login") as caught:
                check(wrong)
            assert "wrong-password" not in str(caught.value)
            assert "VIDPIPE_CLUSTER_POSTGRES" in caught.value.hint
    with pytest.raises(UnavailableError, match="cannot be used") as missing:
        check(address)
    assert not isinstance(missing.value, LoginRejectedError)


def test_celery_gets_its_addresses_from_variables(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, launcher = _launcher(_settings(settings, launcher="celery"), monkeypatch)
    with opened:
        assert isinstance(launcher, CeleryRunLauncher)
        assert (launcher.broker, launcher.default_queue) == (BROKER, "cpu")


@pytest.mark.parametrize("backend", ["statistics", "qwen"])
def test_dockers_api_gets_image_network_volumes_variables_and_gpus(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    volume = "/srv/vidpipe:/home/vidpipe"
    options = {"docker_network": "vidpipe", "docker_volumes": (volume,), "docker_variables": ("VIDPIPE_MONGODB_URI",)}
    chosen = _settings(settings, backend, launcher="docker", **options)
    opened, launcher = _launcher(chosen, monkeypatch)
    with opened:
        assert isinstance(launcher, DockerRunLauncher)
        assert launcher.image == IMAGE
        container = DockerContainerContext.create_for_run(_gpu_run(opened, chosen), launcher)
    assert set(container.env_vars) >= {"DAGSTER_POSTGRES_URL", "VIDPIPE_MONGODB_URI"}
    assert container.networks == ["vidpipe"]
    # what docker-py makes of the keywords: it refuses unknown ones
    call = _create_container_args(
        {"image": IMAGE, "command": ["dagster"], "version": "1.50", **container.container_kwargs}
    )
    assert call["host_config"]["Binds"] == ["/srv/vidpipe:/home/vidpipe"]
    assert call["host_config"]["AutoRemove"] is True
    gpus = call["host_config"].get("DeviceRequests")
    assert (gpus and gpus[0]["Capabilities"]) == (None if backend == "statistics" else [["gpu"]])


@pytest.mark.parametrize("backend", ["statistics", "qwen"])
def test_kubernetes_gets_a_job_with_secret_gpu_limits_and_node_selector(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(KUBECONFIG)
    labels = ("accelerator=l4", "pool=gpu")
    options = {"kubernetes_namespace": "videos", "kubernetes_secret": "vidpipe", "gpu_node_selector": labels}
    chosen = _settings(settings, backend, launcher="k8s", **options)
    opened, launcher = _launcher(chosen, monkeypatch)
    with opened:
        assert isinstance(launcher, K8sRunLauncher)
        run = _gpu_run(opened, chosen)
        context = launcher.get_container_context_for_run(run)
        assert context.namespace == "videos"
        job = construct_dagster_k8s_job(
            job_config=context.get_k8s_job_config(job_image=None, run_launcher=launcher),
            args=["dagster", "api", "execute_run", "{}"],
            job_name=f"dagster-run-{run.run_id}",
            user_defined_k8s_config=context.run_k8s_config,
        )
    body = client.ApiClient().sanitize_for_serialization(job)
    check_kubernetes_object(body)
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert "command" not in container  # the entry point of the image, which sets Dagster's variables
    assert {"secretRef": {"name": "vidpipe"}} in container["envFrom"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    on_gpu = backend == "qwen"
    assert container["resources"] == ({"limits": {"nvidia.com/gpu": "1"}} if on_gpu else {})
    assert pod.get("nodeSelector") == ({"accelerator": "l4", "pool": "gpu"} if on_gpu else None)
