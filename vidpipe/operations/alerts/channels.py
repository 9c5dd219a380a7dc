"""The channels of [Alerts]: a webhook and e-mail, and sending through both at once within a time limit.

Not done through Apprise: its `notify()` returns only success or failure, so neither the reason, Retry-After nor a
partly delivered mail would be known; it sends one mail per recipient; and its JSON body is not the documented one.
"""

import re
import smtplib
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import urlsplit

import requests

from vidpipe.errors import VidpipeError
from vidpipe.network.retry import RetryPolicy, parse_retry_after
from vidpipe.operations.alerts.message import AlertMessage, one_line
from vidpipe.settings.operation import Alerts

#: Time after which a channel is given up on. Dagster stops a sensor's evaluation after 60 s.
SEND_LIMIT_S = 25.0
_SMTP_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 5.0, 8.0
#: Attempts within one delivery. What still fails stays in the alert queue and is sent later.
_RETRIES = RetryPolicy(attempts=3, backoff_s=1.0, max_wait_s=3.0, give_up_beyond_max_wait=True)
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_DISCORD_LIMIT = 1900
#: Reasons as Slack gives them (no_service, invalid_token): words joined by _, which cannot contain an address.
_REASON = re.compile(r"[a-z]+(_[a-z]+){1,5}")
_CHECK_MAIL = "Check SmtpHost, SmtpPort and SmtpSecurity in [Alerts]; `vidpipe alert --test` tries them."
_CHECK_WEBHOOK = "Check VIDPIPE_ALERTS_WEBHOOKURL; `vidpipe alert --test` tries it."


class DeliveryError(VidpipeError):
    """A message could not be delivered. The error never contains a secret.

    Attributes:
        permanent: Retrying does not help until the settings or the receiver change.
        retry_after_s: How long the receiver asked to wait.
        delivered: Some recipients received the message, so it must not be sent again.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        permanent: bool = False,
        retry_after_s: float | None = None,
        delivered: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.permanent = permanent
        self.retry_after_s = retry_after_s
        self.delivered = delivered


class Channel(ABC):
    """One way to deliver alerts.

    Attributes:
        name: The channel's name in the alert queue.
        to: The receiver, as shown to people; without secrets.
    """

    name: str
    to: str

    @abstractmethod
    def send(self, message: AlertMessage) -> None:
        """Deliver a message.

        Raises:
            DeliveryError: The message was not delivered, or not to everybody.
        """

    def __str__(self) -> str:
        """The receiver, as the subject of a sentence."""
        return self.to[0].upper() + self.to[1:]


class WebhookChannel(Channel):
    """JSON by POST, in a shape that Slack, Mattermost, Rocket.Chat, Teams and Discord accept.

    The first four show `text`, Discord shows `content`; `vidpipe` is for programs. The URL is a secret, so no error
    contains it or the text of a library's exception.
    """

    name = "webhook"

    def __init__(self, alerts: Alerts, read_timeout_s: float = _READ_TIMEOUT_S) -> None:
        self._url = alerts.webhook_url.get_secret_value().strip()
        self._read_timeout_s = read_timeout_s
        try:
            self.to = f"the webhook at {urlsplit(self._url).hostname or 'a URL without a host'}"
        except ValueError:
            self.to = "the webhook"

    def send(self, message: AlertMessage) -> None:
        """Post the message; transient failures are retried a few times.

        Raises:
            DeliveryError: The last attempt failed, or retrying would not help.
        """
        _RETRIES.retrying(lambda error: isinstance(error, DeliveryError) and not error.permanent)(self._post, message)

    def _post(self, message: AlertMessage) -> None:
        timeouts = (_CONNECT_TIMEOUT_S, self._read_timeout_s)
        try:
            with requests.post(
                self._url, json=payload(message), timeout=timeouts, allow_redirects=False, stream=True
            ) as response:
                status = response.status_code
                if 200 <= status < 300:
                    return
                retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
                reason = self._reason(response)
        except requests.Timeout:
            raise DeliveryError(f"{self} did not respond within {self._read_timeout_s:g} s.") from None
        except requests.exceptions.SSLError:
            raise DeliveryError(f"{self} has an untrusted certificate.", _CHECK_WEBHOOK) from None
        except requests.ConnectionError:
            raise DeliveryError(f"{self} cannot be reached.", _CHECK_WEBHOOK) from None
        except (requests.RequestException, ValueError):
            raise DeliveryError(f"{self} has an invalid URL.", _CHECK_WEBHOOK, permanent=True) from None
        answer = f"{self} responded with {status}{reason}."
        if 300 <= status < 400:
            raise DeliveryError(answer, f"Redirects are not followed. {_CHECK_WEBHOOK}", permanent=True)
        if status in _TRANSIENT_STATUS:
            raise DeliveryError(answer, retry_after_s=retry_after_s)
        raise DeliveryError(answer, _CHECK_WEBHOOK, permanent=status < 500)

    def _reason(self, response: requests.Response) -> str:
        try:
            text = next(response.iter_content(64), b"").decode("latin-1")
        except requests.RequestException:
            return ""
        return f" ({text})" if _REASON.fullmatch(text) and text not in self._url.lower() else ""


def payload(message: AlertMessage) -> dict[str, object]:
    """Return the JSON of a webhook, in which file names cannot mention anybody or hide a link."""
    text, title = _without_mentions(message.text), _without_mentions(message.title)
    return {
        "text": text,
        "title": title,
        "summary": title,
        "content": text[:_DISCORD_LIMIT],
        "allowed_mentions": {"parse": []},
        "mrkdwn": False,
        "vidpipe": message.fields,
    }


def _without_mentions(text: str) -> str:
    text = text.replace("<", "‹").replace(">", "›").replace("](", "] (")
    return text.replace("@", "@\u200b")


class MailChannel(Channel):
    """E-mail over SMTP with STARTTLS, TLS or neither, with or without a login, as [Alerts] says."""

    name = "mail"

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self.to = f"the mail server {alerts.smtp_host}:{alerts.smtp_port}"

    def send(self, message: AlertMessage) -> None:
        """Send one mail to all of MailTo.

        Raises:
            DeliveryError: The server did not accept the mail, or rejected one of the addresses.
        """
        mail = self.compose(message)
        try:
            with self._connect() as server:
                rejected = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise self._rejected(len(codes), permanent=all(code >= 500 for code in codes)) from None
        except (smtplib.SMTPException, OSError) as error:
            raise self._failure(error) from None
        if rejected:  # the others have it and would get it twice
            raise self._rejected(len(rejected), permanent=True, delivered=True)

    def _failure(self, error: smtplib.SMTPException | OSError) -> DeliveryError:
        hint, permanent = _CHECK_MAIL, False
        match error:
            case smtplib.SMTPAuthenticationError(smtp_code=code):
                what = f"rejected the login of {self._alerts.smtp_user} ({code})"
                hint, permanent = "Check SmtpUser and VIDPIPE_ALERTS_SMTPPASSWORD.", True
            case smtplib.SMTPNotSupportedError():
                security, permanent = self._alerts.smtp_security.upper(), True
                what = f"does not support {security} or the login; nothing was sent"
            case smtplib.SMTPResponseException(smtp_code=code):
                what, permanent = f"responded with {code}", code >= 500
            case ssl.SSLError():
                reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
                what = f"offers no secure connection: {one_line(str(reason), 100)}"
            case smtplib.SMTPServerDisconnected():
                what = "closed the connection or timed out"
            case _:
                what = f"cannot be reached: {error.strerror or type(error).__name__}"
        return DeliveryError(f"{self} {what}.", hint, permanent=permanent)

    def _rejected(self, number: int, *, permanent: bool, delivered: bool = False) -> DeliveryError:
        return DeliveryError(
            f"{self} rejected {number} of the {len(self._alerts.mail_to)} addresses in [Alerts] MailTo.",
            "Check MailTo and MailFrom.",
            permanent=permanent,
            delivered=delivered,
        )

    def compose(self, message: AlertMessage) -> EmailMessage:
        """Return the mail. Untrusted text appears in its body and, cut and on one line, in its subject."""
        mail = EmailMessage()
        mail["Subject"] = one_line(message.title, 150)
        mail["From"] = one_line(self._alerts.mail_from, 200)
        mail["To"] = ", ".join(one_line(address, 200) for address in self._alerts.mail_to)
        mail["Date"] = formatdate(localtime=True)
        mail["Message-ID"] = make_msgid(domain=socket.gethostname() or "localhost")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    def _connect(self) -> smtplib.SMTP:
        alerts, context = self._alerts, ssl.create_default_context()
        address = (alerts.smtp_host, alerts.smtp_port)
        if alerts.smtp_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(*address, timeout=_SMTP_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(*address, timeout=_SMTP_TIMEOUT_S)
        try:
            if alerts.smtp_security == "starttls":
                server.starttls(context=context)
            if alerts.smtp_user:
                server.login(alerts.smtp_user, alerts.smtp_password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server


def configured_channels(alerts: Alerts) -> list[Channel]:
    """Return the channels that are configured: the webhook, mail, both or none."""
    webhook: list[Channel] = [WebhookChannel(alerts)] if alerts.webhook_url.get_secret_value().strip() else []
    return [*webhook, MailChannel(alerts)] if alerts.mail_to and alerts.smtp_host else webhook


def mail_settings_problem(alerts: Alerts) -> str:
    """Return a sentence if only one of the two required settings of mail is set; otherwise an empty string."""
    if bool(alerts.mail_to) == bool(alerts.smtp_host):
        return ""
    given, missing = ("MailTo", "SmtpHost") if alerts.mail_to else ("SmtpHost", "MailTo")
    return f"[Alerts] {given} is set but {missing} is not: no mail is sent."


def send_through(
    messages: Sequence[tuple[Channel, AlertMessage]], limit_s: float = SEND_LIMIT_S
) -> dict[str, DeliveryError | None]:
    """Send through all channels at once, so that one that hangs does not delay the others.

    Returns:
        Channel name -> what went wrong, or None.
    """
    results: dict[str, DeliveryError | None] = {}

    def send(channel: Channel, message: AlertMessage) -> None:
        error: DeliveryError | None = None
        try:
            channel.send(message)
        except DeliveryError as failure:
            error = failure
        except Exception as failure:  # a bug; its text might contain a secret
            error = DeliveryError(f"The alert by {channel.name} failed with an unexpected {type(failure).__name__}.")
        results.setdefault(channel.name, error)

    threads = [threading.Thread(target=send, args=entry, daemon=True) for entry in messages]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for channel, _ in messages:
        late = DeliveryError(f"{channel.to} did not accept the alert within {limit_s:g} s.")
        results.setdefault(channel.name, late)
    return {channel.name: results[channel.name] for channel, _ in messages}
