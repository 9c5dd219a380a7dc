"""TLS towards a real mongod: it works with the right certificates, and otherwise a sentence says what is wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from vidpipe.cli.doctor import check_all
from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.connection import connect
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.library.certificates import Authority
from vidpipe_tests.library.replica_set import free_port, start_mongod


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@contextlib.contextmanager
def mongod(folder: Path, certificate: Path, *args: str | Path) -> Iterator[int]:
    """The port of a mongod that speaks nothing but TLS."""
    port = free_port()
    process: subprocess.Popen[bytes] = start_mongod(
        folder / "mongod", port, "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", certificate, *args
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[int]:
    """Asks for no certificate of its clients."""
    options = ("--tlsCAFile", authority.file, "--tlsAllowConnectionsWithoutCertificates")
    with mongod(tmp_path_factory.mktemp("server"), authority.certificate("server"), *options) as port:
        yield port


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[int]:
    """Asks its clients for a certificate; its own is for another host name."""
    certificate = authority.certificate("elsewhere", hosts=("localhost",))
    with mongod(tmp_path_factory.mktemp("strict"), certificate, "--tlsCAFile", authority.file) as port:
        yield port


def settings_for(home: Path, port: int, *, host: str = "127.0.0.1", options: str = "", **files: Path | str) -> Settings:
    uri = SecretStr(f"mongodb://{host}:{port}/?directConnection=true{options}")
    named = {name: str(path) for name, path in files.items()}
    return Settings(home=home, mongodb=MongoDB(uri=uri, timeout_s=1, **named))  # type: ignore[arg-type]


def refusal(settings: Settings) -> str:
    with pytest.raises((UnavailableError, SettingsError)) as caught:
        connect(settings).close()
    assert caught.value.hint
    return str(caught.value)


def test_with_the_authority_named_the_connection_is_encrypted_and_doctor_says_so(
    home: Path, server: int, authority: Authority
) -> None:
    settings = settings_for(home, server, tls_ca_file=authority.file)
    with connect(settings) as connection:
        assert connection.tls
        connection.collection("videos").insert_one({"_id": 1})
    check = dict(check_all(settings))["MongoDB"]
    assert "stand-alone, with TLS, responds in" in check.found


def test_a_relative_path_begins_in_the_home(home: Path, server: int, authority: Authority) -> None:
    (home / "authority.pem").write_bytes(authority.file.read_bytes())
    connect(settings_for(home, server, tls_ca_file="authority.pem")).close()


def test_a_server_that_wants_a_certificate_gets_it(home: Path, strict_server: int, authority: Authority) -> None:
    own = authority.certificate("vidpipe")
    files = {"tls_ca_file": authority.file, "tls_certificate_key_file": own}
    connect(settings_for(home, strict_server, host="localhost", **files)).close()
    said = refusal(settings_for(home, strict_server, host="localhost", tls_ca_file=authority.file))
    assert f"localhost:{strict_server}" in said
    assert "TlsCertificateKeyFile" in said


def test_an_unknown_authority_is_named_as_such(home: Path, server: int, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    said = refusal(settings_for(home, server, tls_ca_file=other.file))
    assert "signed by an unknown authority" in said
    assert "TlsCaFile" in said
    assert "unknown authority" in refusal(settings_for(home, server, options="&tls=true"))


def test_a_certificate_for_another_host_is_named_as_such(home: Path, strict_server: int, authority: Authority) -> None:
    said = refusal(settings_for(home, strict_server, tls_ca_file=authority.file))
    assert "issued for another name" in said
    assert "127.0.0.1" in said


def test_an_expired_certificate_is_named_as_such(home: Path, authority: Authority) -> None:
    """No mongod starts with one, so that only the handshake is real here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate("expired", days=-1))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    with contextlib.suppress(OSError):
                        context.wrap_socket(client, server_side=True).close()

        threading.Thread(target=answer, daemon=True).start()
        port = listening.getsockname()[1]
        said = refusal(settings_for(home, port, tls_ca_file=authority.file))
        listening.shutdown(socket.SHUT_RDWR)
    assert "certificate has expired" in said
    assert "clock" in said


def test_a_connection_in_the_clear_to_a_server_with_tls(home: Path, server: int) -> None:
    said = refusal(settings_for(home, server))
    assert f"127.0.0.1:{server}" in said
    assert "requires TLS" in said


def test_files_that_cannot_be_used_are_named(home: Path, server: int, authority: Authority, tmp_path: Path) -> None:
    no_certificate = tmp_path / "text.pem"
    no_certificate.write_text("nothing\n")
    without_key = authority.certificate("without-key", with_key=False)
    assert "no file" in refusal(settings_for(home, server, tls_ca_file=tmp_path / "nowhere.pem"))
    assert "contains no certificate" in refusal(settings_for(home, server, tls_ca_file=no_certificate))
    said = refusal(settings_for(home, server, tls_ca_file=authority.file, tls_certificate_key_file=without_key))
    assert "with its private key" in said
    assert "tls=false" in refusal(settings_for(home, server, options="&tls=false", tls_ca_file=authority.file))
    assert "TLS file" in refusal(settings_for(home, server, options=f"&tls=true&tlsCAFile={tmp_path}/no.pem"))
