"""E-mail over SMTP, as [Alerts] says: STARTTLS, TLS from the start, or none; with a login or without."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from vidpipe.alerts.message import Message
from vidpipe.alerts.text import one_line
from vidpipe.alerts.ways import DeliveryError
from vidpipe.settings.operation import Alerts

_TIMEOUT_S = 10.0
_CHECK = "Check SmtpHost, SmtpPort and SmtpSecurity in [Alerts]; `vidpipe alert --test` tries them."


class Mail:
    name = "mail"

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    @property
    def to(self) -> str:
        return f"the mail server {self._alerts.smtp_host}:{self._alerts.smtp_port}"

    def send(self, message: Message) -> None:
        """To all of MailTo in one mail. Raises DeliveryError, also where the server refuses one of them."""
        mail = self.written(message)
        try:
            with self._connected() as server:
                refused = server.send_message(mail)
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryError(
                f"T{self.to[1:]} refused the login of {self._alerts.smtp_user} ({error.smtp_code}).",
                "Check SmtpUser and VIDPIPE_ALERTS_SMTPPASSWORD.",
                permanent=True,
            ) from None
        except smtplib.SMTPNotSupportedError:
            raise DeliveryError(
                f"T{self.to[1:]} offers no {self._alerts.smtp_security.upper()} or no login; nothing was sent.",
                _CHECK,
                permanent=True,
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise self._refused(len(codes), permanent=all(code >= 500 for code in codes)) from None
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(
                f"T{self.to[1:]} answered {error.smtp_code}.", _CHECK, permanent=error.smtp_code >= 500
            ) from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
            raise DeliveryError(f"No safe connection to {self.to}: {one_line(str(reason), 100)}.", _CHECK) from None
        except smtplib.SMTPServerDisconnected:
            raise DeliveryError(f"T{self.to[1:]} hung up, or fell silent.", _CHECK) from None
        except (smtplib.SMTPException, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise DeliveryError(f"T{self.to[1:]} cannot be reached: {reason}.", _CHECK) from None
        if refused:
            # The others have it. Sending it again would give it to them twice.
            raise self._refused(len(refused), permanent=True, delivered=True)

    def _refused(self, number: int, *, permanent: bool, delivered: bool = False) -> DeliveryError:
        return DeliveryError(
            f"T{self.to[1:]} refused {number} of the {len(self._alerts.mail_to)} addresses in [Alerts] MailTo.",
            "Check MailTo and MailFrom.",
            permanent=permanent,
            delivered=delivered,
        )

    def written(self, message: Message) -> EmailMessage:
        """The mail. What strangers wrote stands in the text and, cut and on one line, in the subject."""
        mail = EmailMessage()
        mail["Subject"] = one_line(message.title, 150)
        mail["From"] = one_line(self._alerts.mail_from, 200)
        mail["To"] = ", ".join(one_line(address, 200) for address in self._alerts.mail_to)
        mail["Date"] = formatdate(localtime=True)
        mail["Message-ID"] = make_msgid(domain=socket.gethostname() or "localhost")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    def _connected(self) -> smtplib.SMTP:
        alerts = self._alerts
        context = ssl.create_default_context()
        if alerts.smtp_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                alerts.smtp_host, alerts.smtp_port, timeout=_TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(alerts.smtp_host, alerts.smtp_port, timeout=_TIMEOUT_S)
        try:
            if alerts.smtp_security == "starttls":
                server.starttls(context=context)
            if alerts.smtp_user:
                server.login(alerts.smtp_user, alerts.smtp_password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server
