"""The address policy: which hosts vidpipe connects to, so that a URL in a list cannot reach into the user's network.

Rejected are the targets of server-side request forgery (OWASP): private, loopback, link-local, shared, multicast and
reserved networks, cloud metadata services, and obfuscated forms of these addresses.
"""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from vidpipe.network.fetch_errors import FetchError, lookup_error

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Services that hand out a machine's credentials. Azure's is a public address, the others are in rejected networks.
METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DISGUISED = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10")
)
#: Networks of the IANA special-purpose registries that `ipaddress` of some Python releases considers public.
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16")
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NUMBER = r"(?:0x[0-9a-f]*|\d+)"
_NUMERIC_HOST = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}\.?", re.IGNORECASE)
HINT = "To allow downloads from this host, add it to AllowedPrivate in the section [Download] of config.ini."


def forbidden_reason(address: IPAddress) -> str | None:
    """Return the kind of a forbidden address ("a loopback address"); None if it is an ordinary public one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            reason = forbidden_reason(inner)
            return f"{reason} behind NAT64 ({inner})" if reason else None
        if not address.is_loopback and not address.is_unspecified:
            for network in _DISGUISED:
                if address in network:
                    return "an IPv6 address that embeds or maps another one"
    if address in METADATA:
        return "a cloud metadata service"
    for name, kind in (
        ("is_loopback", "a loopback address"),
        ("is_link_local", "a link-local address"),
        ("is_multicast", "a multicast address"),
        ("is_unspecified", "the unspecified address"),
        ("is_reserved", "a reserved address"),
        ("is_private", "a private address"),
    ):
        if getattr(address, name):
            return kind
    special = any(address in network for network in _SPECIAL)
    return None if address.is_global and not special else "an address in a shared or special-purpose network"


@dataclass(frozen=True)
class _Allowed:
    """One entry of AllowedPrivate: a network or a host name, optionally with a port."""

    network: IPNetwork | None
    host: str
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> "_Allowed":
        if "/" in entry:
            return cls(ipaddress.ip_network(entry, strict=False), "", None)
        try:
            return cls(ipaddress.ip_network(entry), "", None)
        except ValueError:
            pass
        parts = urlsplit(f"//{entry}")
        host = (parts.hostname or "").rstrip(".")
        try:
            return cls(ipaddress.ip_network(host), "", parts.port)
        except ValueError:
            return cls(None, host, parts.port)

    def covers(self, address: IPAddress, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None and self.network.num_addresses == 1:
            return address in self.network
        if address in METADATA:  # a name or a wider network does not include it (Alibaba's is among its VPC services)
            return False
        return self.host == host if self.network is None else address in self.network


class AddressPolicy:
    """Decides which URLs and which addresses of their hosts may be connected to."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """Create a policy.

        Args:
            allowed: Entries of AllowedPrivate: host, host:port, address, address:port or network (CIDR).
        """
        self._allowed = tuple(_Allowed.parse(entry.lower()) for entry in allowed)

    def check_url(self, url: str) -> None:
        """Check what needs no DNS lookup: the scheme, the port, and an IP address in the URL.

        Raises:
            FetchError: The URL is refused. The message does not contain it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise FetchError(f"malformed URL ({error}).", kind="refused") from None
        if parts.scheme not in ("http", "https"):
            raise FetchError(f"unsupported scheme {parts.scheme or '(none)'}: use http or https.", kind="refused")
        host = (parts.hostname or "").rstrip(".")
        if not host or port == 0:
            raise FetchError("the URL has no host or no valid port.", kind="refused")
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            if _NUMERIC_HOST.fullmatch(host):
                raise FetchError(
                    f"{host} is an obfuscated IP address.",
                    "Write the address as four decimal numbers: 192.0.2.1.",
                    kind="refused",
                ) from None
            return
        self.check_address(literal, host, port or _DEFAULT_PORTS[parts.scheme])

    def check_host(self, url: str, *, proxied: bool) -> None:
        """Check a URL and the addresses of its host.

        Args:
            url: The URL.
            proxied: A proxy resolves the name and connects; a name that cannot be resolved here is not an error.

        Raises:
            FetchError: The URL or an address is refused, or the name cannot be resolved.
        """
        self.check_url(url)
        parts = urlsplit(url)
        try:
            self.resolve(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])
        except FetchError as error:
            if error.kind == "refused" or not proxied:
                raise

    def check_address(self, address: IPAddress, host: str, port: int) -> None:
        """Check an address to which `host` resolves.

        Raises:
            FetchError: The address is refused.
        """
        reason = forbidden_reason(address)
        host = host.lower().rstrip(".")
        if reason is None or any(entry.covers(address, host, port) for entry in self._allowed):
            return
        subject = str(address) if str(address) == host else f"{host} resolves to {address}, which"
        message = f"{subject} is {reason}; vidpipe does not connect to it."
        raise FetchError(message, HINT, kind="refused", depends_on=("download.allowed_private",))

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host`, all of them checked; connect to one of these without another lookup.

        Raises:
            FetchError: The name cannot be resolved, or one of its addresses is refused: a name with a public and a
                private address is a trap.
        """
        addresses = look_up(host, port)
        for address in addresses:
            self.check_address(ipaddress.ip_address(address), host, port)
        return addresses

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Return a connection to a checked address of `host`: the first that can be reached.

        Raises:
            FetchError: As in `resolve`.
            OSError: None of its addresses can be connected to.
        """
        *others, last = self.resolve(host, port)
        for address in others:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, port), timeout_s)
        return socket.create_connection((last, port), timeout_s)


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, unchecked.

    Raises:
        FetchError: The name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except UnicodeError:
        raise FetchError(f"{host!r} is not a valid host name.") from None
    except OSError as error:
        raise lookup_error(host, error) from None
    if not found:
        raise FetchError(f"The host {host} has no address.")
    return list(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in found))
