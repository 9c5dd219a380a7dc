"""TLS towards MongoDB: which files are used, and why a server and vidpipe do not agree."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.settings import Settings

_OFF = ("false", "0", "no")

#: What OpenSSL says -> what it means, and what to do about it.
_REASONS: tuple[tuple[str, str, str], ...] = (
    (
        r"mismatch|not valid for",
        "its certificate is made out to another name ({said})",
        "Use a name in [MongoDB] URI that stands in the certificate, or have one made that holds this name.",
    ),
    (
        r"certificate has expired",
        "its certificate has expired",
        "Have it renewed; check this machine's clock, too.",
    ),
    (r"not yet valid", "its certificate is not valid yet", "Check this machine's clock."),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is signed by an authority that is not known here ({said})",
        "Name the authority's certificate in [MongoDB] TlsCaFile.",
    ),
    (
        r"alert (certificate required|handshake failure|bad certificate|unknown ca|unsupported certificate)",
        "it does not accept vidpipe's certificate, or wants one ({said})",
        "Name a certificate with its key that the server knows in [MongoDB] TlsCertificateKeyFile.",
    ),
    (
        r"WRONG_VERSION_NUMBER|UNEXPECTED_EOF|record layer|HTTP_REQUEST|WRONG_SSL",
        "it does not speak TLS on this port",
        "Take tls=true out of [MongoDB] URI and leave TlsCaFile empty, or name the port that speaks TLS.",
    ),
)


def options(settings: Settings, given: Mapping[str, str]) -> dict[str, Any]:
    """The client's options for [MongoDB] TlsCaFile and TlsCertificateKeyFile; either turns TLS on.

    given: the options in the URI, their names in small letters
    Raises SettingsError for a file that is not there or holds no certificate, or where the URI says tls=false.
    """
    authority, own = settings.mongodb.tls_ca_file, settings.mongodb.tls_certificate_key_file
    if not authority and not own:
        return {}
    if given.get("tls", given.get("ssl", "true")).lower() in _OFF:
        raise SettingsError(
            "[MongoDB] URI says tls=false, but TlsCaFile or TlsCertificateKeyFile is set.", "Leave out one of them."
        )
    found: dict[str, Any] = {"tls": True}
    if authority:
        path = _file("TlsCaFile", settings, authority)
        try:
            ssl.create_default_context().load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise _unusable("TlsCaFile", path, "holds no certificate in PEM form", error) from None
        found["tlsCAFile"] = str(path)
    if own:
        path = _file("TlsCertificateKeyFile", settings, own)
        password = given.get("tlscertificatekeyfilepassword", "")
        try:
            ssl.create_default_context().load_cert_chain(path, password=lambda: password)
        except (ssl.SSLError, OSError) as error:
            what = "holds no certificate with its private key in PEM form (or the key wants another password)"
            raise _unusable("TlsCertificateKeyFile", path, what, error) from None
        found["tlsCertificateKeyFile"] = str(path)
    return found


def in_use(options_of_client: Mapping[str, Any], uri: str, given: Mapping[str, str]) -> bool:
    """Whether the connection is encrypted: mongodb+srv is, unless it is told not to be."""
    said = given.get("tls", given.get("ssl"))
    if said is not None:
        return said.lower() not in _OFF
    return (
        bool(options_of_client.get("tls")) or uri.startswith("mongodb+srv://") or any("tls" in name for name in given)
    )


def disagreement(server: str, text: str, said: str) -> UnavailableError:
    """Why the handshake failed. text: all that was said; said: its first reason, for the sentence."""
    inner = re.search(r"certificate verify failed: ([^(]+)", text)
    words = (inner[1] if inner else said).strip().rstrip(".")
    for pattern, meaning, hint in _REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            return UnavailableError(f"{server} and vidpipe do not agree on TLS: {meaning.format(said=words)}.", hint)
    return UnavailableError(
        f"{server} and vidpipe do not agree on TLS: {said}.",
        "Check tls= in [MongoDB] URI, TlsCaFile and this machine's clock; for a server without TLS: tls=false.",
    )


def _file(key: str, settings: Settings, name: str) -> Path:
    path = settings.resolve(Path(name).expanduser())
    if not path.is_file():
        raise SettingsError(f"[MongoDB] {key}: there is no file {path}.", "A relative path begins in the home.")
    return path


def _unusable(key: str, path: Path, what: str, error: Exception) -> SettingsError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SettingsError(f"[MongoDB] {key}: {path} {what}: {reason}.", "PEM files begin with -----BEGIN.")
