"""A SOCKS5 proxy on this machine that applies the address policy to a program that makes its own connections.

yt-dlp gets it as its `proxy`. The host of each connection is resolved here, once, and the very address that was checked
is connected to. The proxy requires a random password, so that no other user of this machine can use it.
"""

import contextlib
import ipaddress
import secrets
import selectors
import socket
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer

from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.fetch_errors import FetchError
from vidpipe.settings.operation import Download

#: Address types of RFC 1928, with the size of an address; a name has its own.
_IP_BYTES = {1: 4, 4: 16}


class GuardProxy(ThreadingTCPServer):
    """The proxy of one program, on a random port of 127.0.0.1 while it is used as a context.

    A connection ends with that of the program, after ReadTimeout without a byte, or at the limit of bytes.

    Attributes:
        url: For the program, with the user and password that it requires.
        received_bytes: Bytes that servers have sent so far.
        max_bytes: Most bytes that they may send: twice MaxSizeMB, because of pages and retries.
        errors: Why connections were not made, oldest first.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, limits: Download) -> None:
        """Start the proxy.

        Args:
            limits: Where it may connect, how long that may take, and how much may be received.
        """
        super().__init__(("127.0.0.1", 0), _GuardedConnection)
        self.limits, self.received_bytes = limits, 0
        self.max_bytes = 2 * (limits.max_size_mb << 20)
        self.errors: list[FetchError] = []
        self.password = secrets.token_hex(24).encode()
        self.url = f"socks5h://guard:{self.password.decode()}@127.0.0.1:{self.server_address[1]}"
        self._policy = AddressPolicy(limits.allowed_private)
        threading.Thread(target=self.serve_forever, args=(0.05,), name="guard-proxy", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connection to a checked address of `host`.

        Raises:
            FetchError: The policy refuses one of its addresses, or none could be reached.
        """
        try:
            return self._policy.connect(host, port, self.limits.connect_timeout)
        except OSError as error:
            reason = error.strerror or str(error)
            raise FetchError(f"{host} port {port} cannot be reached ({reason}).", kind="transient") from error

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a program that speaks no SOCKS5 or ends its connection."""


class _GuardedConnection(StreamRequestHandler):
    """One connection (RFC 1928, with the user and password of RFC 1929)."""

    server: GuardProxy

    def handle(self) -> None:
        self.connection.settimeout(self.server.limits.read_timeout)
        read, write = self.rfile.read, self.wfile.write
        read(read(2)[1])
        write(b"\x05\x02")
        read(1)
        _, password = [read(read(1)[0]) for _ in range(2)]
        known = secrets.compare_digest(password, self.server.password)
        write(b"\x01\x00" if known else b"\x01\x01")
        _, command, _, kind = read(4) if known else bytes(4)
        if command != 1:
            return
        name = read(_IP_BYTES.get(kind) or read(1)[0])
        host = str(ipaddress.ip_address(name)) if kind in _IP_BYTES else name.decode("ascii")
        try:
            upstream = self.server.connect(host, int.from_bytes(read(2), "big"))
        except FetchError as error:
            self.server.errors.append(error)
            write(b"\x05\x02\x00\x01" + bytes(6))
            return
        with upstream, contextlib.suppress(OSError):
            write(b"\x05\x00\x00\x01" + bytes(6))
            self._relay(upstream)

    def _relay(self, upstream: socket.socket) -> None:
        """Pass on bytes in both directions until one side ends."""
        server, client = self.server, self.connection
        with selectors.DefaultSelector() as waiting:
            waiting.register(upstream, selectors.EVENT_READ, client)
            waiting.register(client, selectors.EVENT_READ, upstream)
            while ready := waiting.select(server.limits.read_timeout):
                for key, _ in ready:
                    data = (upstream if key.data is client else client).recv(1 << 16)
                    server.received_bytes += len(data) * (key.data is client)  # not exact: threads add at once
                    if not data or server.received_bytes > server.max_bytes:
                        return
                    key.data.sendall(data)
