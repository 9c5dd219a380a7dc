"""The files in deploy/ are valid by their own tools and schemas, and fit vidpipe's settings and one another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dagster._config import validate_config
from dagster._config.field import resolve_to_config_type
from dagster_k8s import K8sRunLauncher

from vidpipe.pipeline.run_coordinator import GpuRunCoordinator
from vidpipe.settings import init_home, load
from vidpipe_tests.deploy.kubernetes_objects import check_kubernetes_object

DEPLOY = Path(__file__).parents[2] / "deploy"
SECRETS = DEPLOY / "kubernetes" / "secrets.example.yaml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; it is one of vidpipe[dev]")
    return found


def _documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _values_of(node: Any, name: str) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from ([node[name]] if name in node else [])
        node = list(node.values())
    for one in node if isinstance(node, list) else []:
        yield from _values_of(one, name)


def _check_settings(values: dict[str, Any], home: Path) -> None:
    """Fail if vidpipe does not know or accept the variables."""
    init_home(home)
    load(home, environ={name: str(value) for name, value in values.items() if name.startswith("VIDPIPE_")})


def test_hadolint_accepts_the_dockerfile() -> None:
    subprocess.run([_tool("hadolint"), DEPLOY / "Dockerfile"], check=True)


def test_images_are_pinned_and_run_as_a_user_with_a_number() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    *bases, (last, _) = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [name for _, name in bases] == ["build", "cpu-base", "cuda-base"]
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image, _ in bases)
    assert last == "${VARIANT}-base"
    assert re.findall(r"^ARG (.+)$", text.partition("FROM ")[0], re.MULTILINE) == ["VARIANT=cpu"]
    # Kubernetes' runAsNonRoot cannot tell who a user's name is
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1000:1000"]


def test_the_build_sees_neither_settings_nor_data_of_the_clone() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    copied = {word for line in copies for word in line.split()}
    assert copied == {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert not copied & {".", "data", "config.ini", "config.local.ini", "deploy"}
    assert all((DEPLOY.parent / name).exists() for name in copied)


def test_the_entry_point_makes_a_home_and_sets_what_dagster_reads(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(DEPLOY.parent),
        "VIDPIPE_HOME": str(home),
        "VIDPIPE_CLUSTER_POSTGRES": "postgresql://vidpipe:secret@db/dagster",
    }
    command = [sys.executable, str(DEPLOY / "entrypoint.py"), "env"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "DAGSTER_POSTGRES_URL=postgresql+psycopg2://vidpipe:secret@db/dagster" in printed
    assert f"DAGSTER_HOME={home}/data/dagster" in printed
    assert (home / "config.ini").is_file()
    assert (home / "data" / "dagster").is_dir()


def test_compose_yaml_fits_the_compose_specification() -> None:
    command = [_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    subprocess.run(command, check=True, capture_output=True)


def test_compose_publishes_nothing_beyond_this_machine_and_names_every_secret_in_the_example(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", ()))
    example = (DEPLOY / ".env.example").read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    assert "deploy/.env" in (DEPLOY.parent / ".gitignore").read_text()
    assert services["worker"]["deploy"]["replicas"] == 2
    unchecked = {name for name, service in services.items() if "healthcheck" not in service}
    assert unchecked == {"worker"}
    values = services["control"]["environment"]
    interpolated = {name: re.sub(r"\$\{\w+(:-(.*?)|:\?.*?)?\}", r"\2", str(value)) for name, value in values.items()}
    _check_settings(interpolated, tmp_path)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_fit_kubernetes_own_types(path: Path) -> None:
    for body in _documents(path):
        check_kubernetes_object(body)
        assert body["kind"] == "Namespace" or body["metadata"]["namespace"] == "vidpipe"


def test_a_wrong_manifest_is_noticed() -> None:
    for change in ({"replica": 1}, {"replicas": "1"}, {"selector": None}):
        (body,) = (one for one in _documents(DEPLOY / "kubernetes" / "vllm.yaml") if one["kind"] == "Deployment")
        body["spec"] |= change
        with pytest.raises((AssertionError, ValueError)):
            check_kubernetes_object(body)


def test_manifests_use_secrets_that_exist_and_settings_that_vidpipe_knows(tmp_path: Path) -> None:
    secrets = {
        one["metadata"]["name"]: one["stringData"] for one in _documents(DEPLOY / "kubernetes" / "secrets.example.yaml")
    }
    everything = [one for path in MANIFESTS for one in _documents(path)]
    for key in _values_of(everything, "secretKeyRef"):
        assert key["key"] in secrets[key["name"]]
    assert {one["name"] for one in _values_of(everything, "secretRef")} <= secrets.keys()
    assert {one["secretName"] for one in _values_of(everything, "secret")} <= secrets.keys()
    _check_settings(secrets["vidpipe"], tmp_path)
    for containers in _values_of(everything, "containers"):
        for container in containers:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]
            assert "resources" in container, container["name"]


def test_helm_values_make_a_valid_launcher_and_coordinator() -> None:
    (values,) = _documents(DEPLOY / "helm" / "values.yaml")
    secrets = {one["metadata"]["name"] for one in _documents(SECRETS)}
    assert {one["name"] for found in _values_of(values, "envSecrets") for one in found} <= secrets
    assert values["global"]["postgresqlSecretName"] in secrets
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    snake = {"podSpecConfig": "pod_spec_config", "jobSpecConfig": "job_spec_config"}
    config = {  # as the chart writes it
        "load_incluster_config": launcher["loadInclusterConfig"],
        "image_pull_policy": launcher["imagePullPolicy"],
        "env_secrets": [one["name"] for one in launcher["envSecrets"]],
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "run_k8s_config": {snake[name]: value for name, value in launcher["runK8sConfig"].items()},
    }
    _check_config(K8sRunLauncher.config_type(), config)
    coordinator = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    assert coordinator["module"] == GpuRunCoordinator.__module__
    assert coordinator["class"] == GpuRunCoordinator.__name__
    _check_config(GpuRunCoordinator.config_type(), coordinator["config"])
    images = list(_values_of(values, "image"))
    assert len(images) == 3
    assert all(image == images[0] for image in images)


def _check_config(schema: Any, value: Any) -> None:
    result = validate_config(resolve_to_config_type(schema), value)
    assert result.success, result.errors
