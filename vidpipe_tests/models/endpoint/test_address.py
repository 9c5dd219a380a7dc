"""The address is taken as people write it, and what is none is said."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vidpipe.errors import UnavailableError
from vidpipe.models.builders import build_model
from vidpipe.models.endpoint.address import server_addresses
from vidpipe.settings.schema import QwenVL
from vidpipe_tests.models.endpoint.endpoint_requests import settings


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://[::1]:8000/v1/", "http://[::1]:8000/v1/chat/completions"),
        ("https://m.example/v1/chat/completions", "https://m.example/v1/chat/completions"),
        ("https://m.example/compatible-mode/v1", "https://m.example/compatible-mode/v1/chat/completions"),
        ("https://m.example/api/v3/", "https://m.example/api/v3/chat/completions"),
        ("http://m.example/api/predict/qwen", "http://m.example/api/predict/qwen/v1/chat/completions"),
        ("https://m.example/v1?api-version=7", "https://m.example/v1/chat/completions?api-version=7"),
    ],
)
def test_the_path_may_be_left_out_in_part_or_wholly(given: str, asked: str) -> None:
    (server,) = server_addresses(QwenVL(backend="endpoint", public_endpoint=given))
    assert server.url == asked
    assert "?" not in server.shown


def test_pai_is_asked_as_it_is_given() -> None:
    given = "https://1.pai-eas.example/api/predict/qwen"
    assert server_addresses(QwenVL(public_endpoint=given, api_style="pai"))[0].url == given


def test_the_vpc_endpoint_is_asked_where_it_is_chosen() -> None:
    both = {"public_endpoint": "https://public.example", "vpc_endpoint": "http://vpc.example"}
    assert server_addresses(QwenVL.model_validate(both))[0].url.startswith("https://public.example/")
    assert server_addresses(QwenVL.model_validate({**both, "use_vpc": True}))[0].url.startswith("http://vpc.example/")


def test_a_missing_endpoint_is_named_with_the_one_that_is_set() -> None:
    with pytest.raises(UnavailableError, match=r"PublicEndpoint of \[QwenVL\] is empty.*VIDPIPE_QWENVL_PUBLICENDPOINT"):
        build_model(settings(""))
    with pytest.raises(UnavailableError, match=r"VpcEndpoint of \[QwenVL\] is empty.*UseVpc = no selects the other"):
        build_model(settings("http://public.example", use_vpc=True))
    with pytest.raises(UnavailableError, match=r"PublicEndpoint .* is empty.*UseVpc = yes selects the other"):
        build_model(settings("", vpc_endpoint="http://vpc.example"))


@pytest.mark.parametrize(
    "given", ["http://", "http:///v1", "http://host:port/v1", "http://ho st/v1", "http://ann@host/v1", "http://[::1/v1"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(given: str) -> None:
    with pytest.raises(UnavailableError, match=r"PublicEndpoint of \[QwenVL\]"):
        build_model(settings(given))


@pytest.mark.parametrize("name", ["qwen2-vl", "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5vl:7b", "/models/a@main", "a+b"])
def test_a_model_may_have_any_name_that_servers_give(name: str) -> None:
    assert QwenVL(model=name).model == name


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "a;b", "x" * 201])
def test_what_is_no_models_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        QwenVL(model=name)
