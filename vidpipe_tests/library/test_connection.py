"""The connection: the right collections, the right server, and errors that name the server but never the password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from vidpipe.errors import LoginRejectedError, SettingsError, UnavailableError
from vidpipe.library import embedded, mongod
from vidpipe.library.capabilities import capabilities
from vidpipe.library.connection import Connection, connect, host_of
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB

PASSWORD = "s3cret-Passw0rd"  # noqa: S105 - of a user that lives as long as a test


def with_uri(home: Path, uri: str, timeout_s: float = 1.0, **more: str) -> Settings:
    return Settings(home=home, mongodb=MongoDB(uri=SecretStr(uri), timeout_s=timeout_s, **more))  # type: ignore[arg-type]


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    with connect(settings) as connection:
        yield connection


@pytest.fixture
def reader(mongod_uri: str, settings: Settings) -> Iterator[str]:
    """The address of a user who may only read one database that is not the library's."""
    with MongoClient[dict[str, object]](mongod_uri) as client:
        name = settings.mongodb.database_name + "_reader"
        client[name].command("createUser", "reader", pwd=PASSWORD, roles=["read"])
        yield f"mongodb://reader:{PASSWORD}@127.0.0.1:{urlsplit(mongod_uri).port}/?authSource={name}"
        client[name].command("dropUser", "reader")


def test_collections_are_called_after_the_setting(settings: Settings) -> None:
    with connect(settings) as connection:
        assert connection.collection("videos").full_name == f"{settings.mongodb.database_name}.videos"
        assert connection.collection("scenes").name == "videos_scenes"
        assert connection.collection("lineage").name == "videos_lineage"
    clips = settings.mongodb.model_copy(update={"collection_name": "clips"})
    with connect(settings.model_copy(update={"mongodb": clips})) as connection:
        assert connection.collection("videos").name == "clips"
        assert connection.collection("answers").name == "clips_answers"


def test_times_come_back_in_utc(connection: Connection) -> None:
    now = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
    connection.collection("videos").insert_one({"_id": 1, "at": now})
    assert connection.collection("videos").find_one() == {"_id": 1, "at": now}


def test_an_empty_uri_means_the_embedded_server_which_comes_back_after_it_died(embedded_settings: Settings) -> None:
    with connect(embedded_settings) as connection:
        assert connection.is_embedded
        connection.collection("videos").insert_one({"_id": 1})
        server = embedded.find(embedded_settings)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)
        with (
            pytest.raises(UnavailableError, match="The embedded MongoDB server ") as caught,
            connection.errors_explained(),
        ):
            connection.collection("videos").insert_one({"_id": 2})
        assert "it restarts the server" in caught.value.hint
        assert isinstance(caught.value.__cause__, AutoReconnect)
        connection.ensure_server()
        assert connection.collection("videos").count_documents({"_id": 1}) == 1
    assert embedded.find(embedded_settings) is not None, "closing a connection leaves the server to others"


def test_a_changed_key_of_the_embedded_server_is_named(embedded_settings: Settings) -> None:
    embedded.start(embedded_settings)
    embedded.files_of(embedded_settings).key.write_text("0" * 64)
    with pytest.raises(UnavailableError, match="vidpipe down"):
        connect(embedded_settings)
    embedded.stop(embedded_settings)
    connect(embedded_settings).close()


def test_a_server_that_is_not_there_is_named_without_the_password(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: nobody else takes the port
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match=rf"The MongoDB server {host} cannot be reached") as caught:
            connect(with_uri(home, f"mongodb://me:{PASSWORD}@{host}/"))
    assert time.monotonic() - begun < 25
    assert "start the server" in caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_silent_server_is_given_up_after_the_timeout(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match=f"{host} cannot be reached"):
            connect(with_uri(home, f"mongodb://{host}/", timeout_s=0.5))
    assert time.monotonic() - begun < 25


def test_an_unknown_host_name_is_called_so(home: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid:27017 cannot be reached") as caught:
        connect(with_uri(home, "mongodb://no-such-host.invalid/"))
    assert "host name is not known" in caught.value.hint


def test_a_refused_login_names_the_server_but_not_the_password(home: Path, reader: str) -> None:
    wrong = reader.replace(PASSWORD, PASSWORD + "-wrong")
    with pytest.raises(LoginRejectedError, match=rf"{host_of(reader)} rejects the login") as caught:
        connect(with_uri(home, wrong))
    assert "authSource" in caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_user_without_rights_on_the_library_is_told_the_role_that_is_missing(home: Path, reader: str) -> None:
    with pytest.raises(LoginRejectedError, match="does not authorize this user") as caught:
        connect(with_uri(home, reader))
    assert "readWrite" in caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_user_who_may_only_read_is_found_out(home: Path, reader: str, settings: Settings) -> None:
    name = settings.mongodb.database_name + "_reader"
    with connect(with_uri(home, reader, database_name=name)) as connection:
        assert capabilities(connection).product == "MongoDB"
        with pytest.raises(UnavailableError, match="does not authorize"), connection.errors_explained():
            connection.collection("videos").insert_one({})


def test_a_server_without_tls_is_not_called_unreachable_only(home: Path, mongod_uri: str) -> None:
    with pytest.raises(UnavailableError, match=r"TLS handshake with .* failed") as caught:
        connect(with_uri(home, mongod_uri + "&tls=true"))
    assert "tls=" in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (f"mongodb://me:{PASSWORD}@more@host/", "must be escaped"),
        (f"mongodb://me:{PASSWORD}/more@host/", "must be escaped"),
        (f"mongodb://me:{PASSWORD}:more@host/", "must be escaped"),
        (f"mongodb://me:{PASSWORD}@host:port/", "must be escaped"),
        (f"mongodb://me:{PASSWORD}@host/?maxPoolSize=many", "option maxpoolsize"),
        (f"mongodb://me:{PASSWORD}@host/?authMechanism=GUESS", "option authmechanism"),
        (f"mongodb://me:{PASSWORD}@host/?tls=true&ssl=false", "contradict each other"),
        (f"mongodb+srv://me:{PASSWORD}@nowhere.invalid.invalid/", "nowhere.invalid.invalid cannot be resolved"),
        ("mongodb://", "not a valid MongoDB address"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained_without_its_password(home: Path, uri: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as caught:
        connect(with_uri(home, uri))
    assert "s3cret" not in str(caught.value)
    assert caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        (f"mongodb://me:{PASSWORD}@a.example:1,b.example/?replicaSet=r", "a.example:1,b.example:27017"),
        (f"mongodb+srv://me:{PASSWORD}@cluster.example.net/?x=@y", "cluster.example.net"),
        (f"mongodb+srv://me:{PASSWORD}/more@cluster.example.net/", "[MongoDB] URI"),
        (f"mongodb://me:{PASSWORD}/more@host/", "[MongoDB] URI"),
    ],
)
def test_a_host_is_named_without_user_and_password(uri: str, host: str) -> None:
    assert host_of(uri) == host


def test_options_in_the_address_win(home: Path, mongod_uri: str) -> None:
    with connect(with_uri(home, mongod_uri + "&appName=mine&socketTimeoutMS=7000")) as connection:
        assert connection.client.options.pool_options.socket_timeout == 7
        assert connection.client.options.server_selection_timeout == 1


def test_capabilities_of_a_standalone_server(connection: Connection) -> None:
    found = capabilities(connection)
    assert (found.product, found.replica_set, found.sharded) == ("MongoDB", None, False)
    assert found.writable
    assert found.version[0].isdigit()


def test_capabilities_of_a_replica_set(home: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = tmp_path / "member"
    data.mkdir()
    member = subprocess.Popen(
        [mongod.find_mongod(), "--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1",
         "--nounixsocket", "--replSet", "members", "--oplogSize", "16", "--wiredTigerCacheSizeGB", "0.25"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with MongoClient[dict[str, object]](port=port, directConnection=True) as client:
            client.admin.command(
                "replSetInitiate", {"_id": "members", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]}
            )
        with connect(with_uri(home, f"mongodb://127.0.0.1:{port}/?replicaSet=members", timeout_s=20)) as connection:
            while not connection.client.is_primary:
                time.sleep(0.05)
            found = capabilities(connection)
        assert found.replica_set == "members"
        assert found.writable
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            connect(with_uri(home, f"mongodb://127.0.0.1:{port}/?replicaSet=others"))
        assert "replicaSet=" in caught.value.hint
    finally:
        member.kill()
        member.wait()
        shutil.rmtree(data)


def test_a_refused_operation_keeps_the_servers_words(connection: Connection) -> None:
    with (
        pytest.raises(UnavailableError, match=r"an operation: .*nope") as caught,
        connection.errors_explained(),
    ):
        connection.database.command("nope")
    assert isinstance(caught.value.__cause__, OperationFailure)
