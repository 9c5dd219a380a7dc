"""A request is the same type everywhere: it survives a run config, which holds hashes only."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from vidpipe.runner.request import RunRequest


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest(),
        RunRequest(videos=["ab" * 32, "cd" * 32]),
        RunRequest(stages=["scenes", "tags"], retry=True, force={"tags", "scenes"}, check_files=False),
    ],
)
def test_a_request_comes_back_from_its_run_config(request_: RunRequest) -> None:
    assert RunRequest.from_config(json.loads(json.dumps(request_.as_config()))) == request_


def test_empty_lists_of_a_run_config_mean_no_restriction() -> None:
    assert RunRequest.from_config({"keys": [], "stages": [], "retry": False, "force": []}) == RunRequest()


def test_keys_may_be_one_text_and_are_taken_once() -> None:
    assert RunRequest.from_config({"keys": "ab\n\n cd \nab\n"}).videos == ("ab", "cd")


def test_no_videos_are_not_all_videos() -> None:
    with pytest.raises(ValueError, match="no videos"):
        RunRequest(videos=[]).as_config()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError):
        RunRequest.from_config({"forced": ["tags"]})
