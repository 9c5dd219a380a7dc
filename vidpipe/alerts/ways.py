"""The ways an alert can go, as [Alerts] has them; and sending by several at once within a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Protocol

from vidpipe.alerts.message import Message
from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Alerts

#: A way that takes longer is given up; Dagster gives a whole look of a sensor 60 s.
LONGEST_S = 25.0


class DeliveryError(VidpipeError):
    """A message could not be delivered. It holds no secret.

    permanent: trying again will not help until somebody changes something
    after_s:   the other side asked to be left alone for so long
    delivered: some have it all the same, so that it must not be sent again
    """

    def __init__(
        self, message: str, hint: str = "", *, permanent: bool = False, after_s: float | None = None,
        delivered: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message, hint)
        self.permanent = permanent
        self.after_s = after_s
        self.delivered = delivered


class Way(Protocol):
    """name: of the way, as it is stored; to: whom it reaches, for people, without secrets"""

    @property
    def name(self) -> str: ...

    @property
    def to(self) -> str: ...

    def send(self, message: Message) -> None:
        """Raises DeliveryError."""


def ways_of(alerts: Alerts) -> list[Way]:
    """What is configured: a webhook, e-mail, both or none."""
    from vidpipe.alerts.mail import Mail
    from vidpipe.alerts.webhook import Webhook

    ways: list[Way] = []
    if alerts.webhook_url.get_secret_value().strip():
        ways.append(Webhook(alerts))
    if alerts.mail_to and alerts.smtp_host:
        ways.append(Mail(alerts))
    return ways


def half_configured(alerts: Alerts) -> str:
    """A sentence where one key of e-mail is set and the other is not; empty where all is well."""
    if bool(alerts.mail_to) == bool(alerts.smtp_host):
        return ""
    given, missing = ("MailTo", "SmtpHost") if alerts.mail_to else ("SmtpHost", "MailTo")
    return f"[Alerts] {given} is set and {missing} is not: no mail is sent."


def send_by_all(ways: Sequence[tuple[Way, Message]], limit_s: float = LONGEST_S) -> dict[str, DeliveryError | None]:
    """name of the way -> what went wrong, or None. All at once, so that one that hangs holds up none."""
    results: dict[str, DeliveryError | None] = {}

    def send(way: Way, message: Message) -> None:
        try:
            way.send(message)
        except DeliveryError as error:
            results.setdefault(way.name, error)
        except Exception as error:  # a fault of ours: its text may quote what is secret
            fault = DeliveryError(f"The alert by {way.name} failed with an unexpected {type(error).__name__}.")
            results.setdefault(way.name, fault)
        else:
            results.setdefault(way.name, None)

    threads = [threading.Thread(target=send, args=entry, name=f"alert-{entry[0].name}", daemon=True) for entry in ways]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for way, _ in ways:
        results.setdefault(way.name, DeliveryError(f"{way.to} did not take the alert within {limit_s:g} s."))
    return {way.name: results[way.name] for way, _ in ways}
