"""Checks Kubernetes objects by the models of its own client, and by its JSON schemas where these are installed."""

from __future__ import annotations

import importlib
import re
from typing import Any

from kubernetes import client

try:
    schemas = importlib.import_module("kubernetes_validate")  # 100 MB, therefore not among the packages of tests
except ImportError:
    schemas = None
#: For example networking.k8s.io/v1 NetworkPolicy -> V1NetworkPolicy.
_MODEL = "{version}{kind}"


def check_kubernetes_object(body: dict[str, Any]) -> None:
    """Fail if `body` has a field or a type that its kind does not have, or lacks one."""
    version = body["apiVersion"].rpartition("/")[2]
    _check(body, _MODEL.format(version=version.capitalize(), kind=body["kind"]), body["kind"])
    if schemas is not None:
        schemas.validate(body, max(schemas.utils.supported_versions, key=_numbers), strict=True)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _check(value: Any, kind: str, path: str) -> None:
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), f"{path} is no list"
        for index, one in enumerate(value):
            _check(one, inner[1], f"{path}[{index}]")
    elif inner := re.fullmatch(r"dict\[str, (.+)\]", kind):
        assert isinstance(value, dict), f"{path} is no mapping"
        for key, one in value.items():
            _check(one, inner[1], f"{path}.{key}")
    elif kind in ("str", "bool", "int", "float", "object", "datetime"):
        types: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float)}
        expected = types.get(kind, (str, int, dict, list) if kind == "object" else (str,))
        assert isinstance(value, expected), f"{path} is no {kind}: {value!r}"
        assert kind == "bool" or not isinstance(value, bool), f"{path} is no {kind}: {value!r}"
    else:
        model = getattr(client, kind)
        assert isinstance(value, dict), f"{path} is no {kind}"
        names = {external: name for name, external in model.attribute_map.items()}
        assert not (unknown := value.keys() - names.keys()), f"{path} has no {', '.join(unknown)}"
        for key, one in value.items():
            _check(one, model.openapi_types[names[key]], f"{path}.{key}")
        model(
            **{names[key]: one for key, one in value.items()}
        )  # raises ValueError for a required field that is missing
