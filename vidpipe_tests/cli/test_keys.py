"""vidpipe keys, as a user calls it."""

from __future__ import annotations

import pytest

from vidpipe_tests.cli.conftest import Command


def test_a_key_is_created_listed_without_its_secret_and_revoked(vidpipe: Command) -> None:
    secret = vidpipe("keys", "create", "script", "--scope", "write", "--expires", "8w").stdout.strip()
    (row,) = vidpipe.json("keys", "list")["keys"]
    assert (row["name"], row["scope"]) == ("script", "write")
    assert row["expires_at"] > row["created_at"]
    shown = vidpipe("keys", "list")
    assert "script" in shown.stdout
    assert secret not in shown.output
    assert vidpipe.json("keys", "revoke", row["id"]) == {"revoked": row["id"]}
    assert vidpipe("keys", "revoke", row["id"]).exit_code == 1
    assert "There are no keys" in vidpipe("keys", "list").stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["list", "script"], ["list", "--scope", "write"], ["create"], ["create", " "], ["create", "x" * 101],
        ["create", "script", "--scope", "owner"], ["create", "script", "--expires", "soon"], ["revoke"],
    ],
)  # fmt: skip
def test_usage_errors_create_no_key(vidpipe: Command, wrong: list[str]) -> None:
    assert vidpipe("keys", *wrong).exit_code == 2
    assert vidpipe.json("keys", "list")["keys"] == []
