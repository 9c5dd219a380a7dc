"""A mail server (aiosmtpd) with STARTTLS, TLS, a login and refusals; and the certificate it shows."""

from __future__ import annotations

import datetime
import email
import ipaddress
import ssl
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "vidpipe", "correct horse battery staple"


class Post:
    """Takes mail in. mails: what came; refuses: addresses that it takes no mail for; answer: to the mail itself"""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[list[str]] = []
        self.secure: list[bool] = []
        self.refuses: set[str] = set()
        self.answer = "250 taken"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("2"):
            content = cast(bytes, envelope.content)
            self.mails.append(cast(EmailMessage, email.message_from_bytes(content, policy=default)))
            self.to.append(list(envelope.rcpt_tos))
            transport = server.transport
            self.secure.append(transport is not None and transport.get_extra_info("sslcontext") is not None)
        return self.answer


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


def mail_server(
    post: Post, *, security: str = "none", certificate: Path | None = None, login: bool = False
) -> Controller:
    """Not yet started; `start()` and `stop()` it. security: as [Alerts] SmtpSecurity."""
    arguments: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0}
    if login:
        arguments |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": security == "starttls"}
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        assert certificate is not None
        context.load_cert_chain(certificate)
        if security == "tls":
            arguments["ssl_context"] = context
        else:
            arguments |= {"tls_context": context, "require_starttls": True}
    return _FreePort(post, **arguments)


class _FreePort(Controller):
    """On a free port, chosen when it starts."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file
