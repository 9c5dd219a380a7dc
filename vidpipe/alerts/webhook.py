"""A webhook: JSON by POST, in a shape that Slack, Mattermost, Rocket.Chat, Teams and Discord take, each its part of it.

`text` is what the first four show, `content` what Discord does; `vidpipe` is for programs. The address is the secret of
such a hook, so no error quotes it, nor what a library says of it.
"""

from __future__ import annotations

import random
import re
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from vidpipe.alerts.message import Message
from vidpipe.alerts.text import without_mentions
from vidpipe.alerts.ways import DeliveryError
from vidpipe.settings.operation import Alerts

_CONNECT_S, _READ_S = 5.0, 8.0
#: Attempts at once; later ones are the business of whoever keeps the message.
_ATTEMPTS = 3
_LONGEST_PAUSE_S = 3.0
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_DISCORD_LIMIT = 1900
#: Slack's reasons (no_service, invalid_token): words joined by _, and nothing of an address.
_REASON = re.compile(r"[a-z]+(_[a-z]+){1,5}")
_CHECK = "Check VIDPIPE_ALERTS_WEBHOOKURL; `vidpipe alert --test` tries it."


class Webhook:
    name = "webhook"

    def __init__(self, alerts: Alerts) -> None:
        self._url = alerts.webhook_url.get_secret_value().strip()

    @property
    def to(self) -> str:
        try:
            return f"the webhook at {urlsplit(self._url).hostname or 'an address without a host'}"
        except ValueError:
            return "the webhook"

    def send(self, message: Message) -> None:
        """Raises DeliveryError after a few attempts, or at once where more would not help."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._post(message)
                return
            except DeliveryError as error:
                pause = error.after_s if error.after_s is not None else 0.5 * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
                if error.permanent or attempt == _ATTEMPTS or pause > _LONGEST_PAUSE_S:
                    raise
                time.sleep(pause)

    def _post(self, message: Message) -> None:
        try:
            with requests.post(
                self._url, json=payload(message), timeout=(_CONNECT_S, _READ_S), allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
                if 200 <= status < 300:
                    return
                after_s = _retry_after(answer.headers.get("Retry-After", ""))
                reason = self._reason(answer)
        except requests.Timeout:
            raise DeliveryError(f"{self._To} did not answer within {_READ_S:g} s.") from None
        except requests.exceptions.SSLError:
            raise DeliveryError(f"{self._To} has a certificate that cannot be trusted.", _CHECK) from None
        except requests.ConnectionError:
            raise DeliveryError(f"{self._To} cannot be reached.", _CHECK) from None
        except (requests.RequestException, ValueError):
            raise DeliveryError(f"{self._To} has no valid address.", _CHECK, permanent=True) from None
        said = f"{self._To} answered {status}{reason}."
        if 300 <= status < 400:
            raise DeliveryError(said, f"It is elsewhere now: no redirect is followed. {_CHECK}", permanent=True)
        if status in _TRANSIENT:
            raise DeliveryError(said, after_s=after_s)
        raise DeliveryError(said, _CHECK, permanent=status < 500)

    def _reason(self, answer: requests.Response) -> str:
        try:
            said = next(answer.iter_content(64), b"").decode("latin-1")
        except requests.RequestException:
            return ""
        return f" ({said})" if _REASON.fullmatch(said) and said not in self._url.lower() else ""

    @property
    def _To(self) -> str:
        return self.to[0].upper() + self.to[1:]


def payload(message: Message) -> dict[str, object]:
    """The JSON. Names of files in it call nobody and hide no links."""
    text = without_mentions(message.text)
    return {
        "text": text, "title": without_mentions(message.title), "summary": without_mentions(message.title),
        "content": text[:_DISCORD_LIMIT], "allowed_mentions": {"parse": []}, "mrkdwn": False,
        "vidpipe": message.fields,
    }  # fmt: skip


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which may be a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return None
