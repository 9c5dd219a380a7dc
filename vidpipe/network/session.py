"""Sessions of requests that make their connections in a way of one's own and take nothing from the environment."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vidpipe.errors import UnavailableError

#: Scheme -> the pools that connect to it.
Pools = dict[str, type[HTTPConnectionPool]]

# at DEBUG it writes every path with its query, and so the tokens in it, into the log
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


def pools_of(plain: type[HTTPConnection], encrypted: type[HTTPSConnection]) -> Pools:
    """Pools whose connections are of these classes."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, pools: Pools, proxy_pools: Pools, size: int) -> None:
        self._pools = pools
        self._proxy_pools = proxy_pools
        super().__init__(pool_connections=size, pool_maxsize=size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager: urllib3.PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = dict(self._pools)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # those bring connections of their own
            manager.pool_classes_by_scheme = dict(self._proxy_pools)
        return manager


def session_over(
    pools: Pools, proxy_pools: Pools | None = None, *, size: int = requests.adapters.DEFAULT_POOLSIZE
) -> requests.Session:
    """A session that connects through `pools`, to a proxy through `proxy_pools` (the same where none are given).

    Of the environment it takes nothing by itself: no ~/.netrc password goes to a server that merely has the right name,
    and neither proxies nor authorities count until the caller sets them. `size`: connections that are kept open.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = _Adapter(pools, pools if proxy_pools is None else proxy_pools, size)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def authorities() -> str:
    """The file or folder of certificate authorities that the environment names; empty: the usual ones.

    Raises UnavailableError where the variable names neither a file nor a folder.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(variable, "")
        if path and not (os.path.isfile(path) or os.path.isdir(path)):
            raise UnavailableError(
                f"{variable} names {path}, which is not there.",
                "Correct the variable or unset it.",
                depends_on=(f"variable:{variable}",),
            )
        if path:
            return path
    return ""


def shut_down(sock: socket.socket) -> None:
    """Whoever reads from it, in another thread, gets an end of data or an error at once."""
    with contextlib.suppress(OSError):
        # not SSLSocket.shutdown, which would drop the TLS state under the reader
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
