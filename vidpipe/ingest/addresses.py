"""The address policy: which machines may be asked. A URL from a list must not reach into the user's own network.

What is refused is what a server-side request forgery aims at (OWASP): private, loopback, link-local, shared,
multicast and reserved networks, cloud metadata services, and the disguises of these in other notations.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from vidpipe.ingest.faults import FetchError, lookup_error
from vidpipe.ingest.urls import redacted_url

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
#: (family, sockaddr) as `socket.getaddrinfo` gives them
Endpoint = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]

#: Services that hand out a machine's credentials. Azure's is a public address, the others lie in refused networks.
METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DISGUISED = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10")
)
#: Of the IANA special-purpose registries, what the `ipaddress` of some Python releases takes for public.
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16")
)
_NUMBER = r"(?:0x[0-9a-f]*|\d+)"
_NUMERIC_HOST = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}\.?", re.IGNORECASE)
HINT = "If vidpipe may download from this machine, add it to AllowedPrivate in the section [Download] of config.ini."


def forbidden_reason(address: IPAddress) -> str | None:
    """What kind of address it is that must not be asked ("a loopback address"); None for an ordinary public one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            reason = forbidden_reason(inner)
            return f"{reason} behind NAT64 ({inner})" if reason else None
        if not address.is_loopback and not address.is_unspecified:
            for network in _DISGUISED:
                if address in network:
                    return "an IPv6 address that stands for another one"
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
    return None if address.is_global and not special else "an address of a shared or special network"


@dataclass(frozen=True)
class _Allowed:
    """One entry of AllowedPrivate: a network or a host name, perhaps at one port only."""

    network: IPNetwork | None
    host: str
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> _Allowed:
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
        if address in METADATA:  # neither a name nor a network (Alibaba's lies among its VPC services) is meant for it
            return False
        return self.host == host if self.network is None else address in self.network


class AddressPolicy:
    """Decides about URLs and the addresses that their hosts stand for.

    allowed: entries of AllowedPrivate: host, host:port, address, address:port or network (CIDR)
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = tuple(_Allowed.parse(entry.lower()) for entry in allowed)

    def check_url(self, url: str) -> None:
        """Everything that can be said before a look-up: the scheme, the port, an address written out in the URL.

        Errors: FetchError(refused).
        """
        shown = redacted_url(url)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise FetchError(f"{shown}: not a URL that can be read ({error}).", kind="refused") from None
        if parts.scheme not in ("http", "https"):
            raise FetchError(f"{shown}: only http and https are fetched, not {parts.scheme or 'this'}.", kind="refused")
        host = (parts.hostname or "").rstrip(".")
        if not host or port == 0:
            raise FetchError(f"{shown}: the URL names no host or no port.", kind="refused")
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            if _NUMERIC_HOST.fullmatch(host):
                raise FetchError(
                    f"{shown}: {host} is an address in disguise and is not asked.",
                    "Write an address as four decimal numbers: 192.0.2.1.",
                    kind="refused",
                ) from None
            return
        self.check_address(literal, host, port or (443 if parts.scheme == "https" else 80))

    def check_address(self, address: IPAddress, host: str, port: int) -> None:
        """Errors: FetchError(refused) where `address`, which `host` stands for, must not be asked."""
        reason = forbidden_reason(address)
        host = host.lower().rstrip(".")
        if reason is None or any(entry.covers(address, host, port) for entry in self._allowed):
            return
        named = str(address) if str(address) == host else f"{host} stands for {address}, which"
        said = f"{named} is {reason} and is not asked."
        raise FetchError(said, HINT, kind="refused", depends_on=("download.allowed_private",))

    def resolve(self, host: str, port: int) -> list[Endpoint]:
        """The addresses of `host`, every one checked; connect to one of these and look nothing up again.

        Errors: FetchError(refused) as soon as one address is not allowed (a name that stands for a public and a
        private address is a trap), FetchError for a name that cannot be looked up.
        """
        endpoints = look_up(host, port)
        for _, sockaddr in endpoints:
            self.check_address(ipaddress.ip_address(sockaddr[0]), host, port)
        return endpoints


def look_up(host: str, port: int) -> list[Endpoint]:
    """The addresses of `host`, unchecked. Errors: FetchError for a name that cannot be looked up."""
    try:
        found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except UnicodeError:
        raise FetchError(f"{host!r} is not a host name.") from None
    except OSError as error:
        raise lookup_error(host, error) from None
    if not found:
        raise FetchError(f"The name {host} has no address.")
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]
