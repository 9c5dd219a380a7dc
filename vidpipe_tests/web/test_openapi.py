"""The API answers as its OpenAPI document says, whatever it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from traceback import format_exception_only
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from starlette.testclient import TestClient

from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests.web.conftest import SmallLibrary

load_all_checks()


@schemathesis.serializer("application/offset+octet-stream")
def bytes_of_an_upload(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


#: Answers that do not end; and what starts processes, or would leave no video to ask about.
_EVENTS, _STARTS_WORK = r"/events$", r"/(runs|sources|retry|ask|proxy|forget|plan|apply)$"
_ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def videos(own_library: SmallLibrary) -> list[str]:
    return list(own_library.videos.values())


@pytest.fixture(scope="module")
def app(own_library: SmallLibrary) -> Iterator[Any]:
    """The application, asked by this machine."""
    page = own_library.settings.library_page.model_copy(update={"requests_per_minute": 0})
    settings = own_library.settings.model_copy(update={"library_page": page})
    with closing(WebHome(lambda: settings)) as home:
        served = create_app(home)

        async def from_here(scope: Any, receive: Any, send: Any) -> None:
            await served({**scope, "client": ("127.0.0.1", 5000)}, receive, send)

        yield from_here


def _violations(app: Any, videos: list[str], examples: int) -> dict[str, str]:
    """Return operation -> what is wrong with its answers to so many generated requests."""
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={"Host": "127.0.0.1:8000"})
    schema.config.base_url = _ADDRESS
    asked = schema.exclude(path_regex=_EVENTS).exclude(path_regex=_STARTS_WORK, method="POST")
    operations = [result.ok() for result in asked.get_all_operations()]
    wrong = {operation.label: _violation(operation, videos, examples) for operation in operations}
    return {label: found for label, found in wrong.items() if found}


def _violation(operation: schemathesis.APIOperation, videos: list[str], examples: int) -> str:
    """Return what is wrong with an operation. Most requests are about a video that exists: some should succeed."""
    statuses: set[int] = set()

    @options(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(), st.sampled_from([*videos, ""]))
    def ask(case: schemathesis.Case, video: str) -> None:
        if video and "sha256" in (case.path_parameters or {}):
            case.path_parameters["sha256"] = video
        statuses.add(case.call_and_validate().status_code)

    try:
        ask()
    except (Exception, BaseExceptionGroup) as error:
        return "".join(format_exception_only(error))
    succeeds = operation.method != "get" or {200, 404, 409} & statuses
    return "" if succeeds else f"never succeeds: {statuses}"


def test_the_document_describes_every_operation_and_parameter(app: Any) -> None:
    document = TestClient(app, base_url=_ADDRESS).get("/api/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            described = [operation, *operation.get("parameters", ())]
            assert all(one.get("description") for one in described), f"{method} {path}"
            assert list(operation["responses"]["404"]["content"]) == ["application/problem+json"]


def test_the_api_conforms_to_its_document(app: Any, videos: list[str]) -> None:
    assert _violations(app, videos, examples=2) == {}


@pytest.mark.soak
def test_the_api_conforms_to_its_document_in_many_examples(app: Any, videos: list[str]) -> None:
    assert _violations(app, videos, examples=100) == {}


def test_generated_clients_get_names_and_types(app: Any) -> None:
    document = TestClient(app, base_url=_ADDRESS).get("/api/openapi.json").json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert [
        name for name in [*names, *document["components"]["schemas"]] if not name.isidentifier() or "__" in name
    ] == []
    untyped = {
        operation["operationId"]
        for operation in operations
        for status, response in operation["responses"].items()
        for kind, content in response.get("content", {}).items()
        if kind == "application/json" and status.startswith("2") and not _names_its_fields(content.get("schema", {}))
    }
    assert untyped == set()


def _names_its_fields(schema: Any) -> bool:
    """Return whether it is an object of a named type, or a list of such."""
    return "$ref" in schema or (schema.get("type") == "array" and _names_its_fields(schema["items"]))
