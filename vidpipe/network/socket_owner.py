"""Which user of this machine is at the other end of a TCP connection.

Linux tells by its socket monitoring interface (sock_diag(7)), which any user may ask.
"""

import errno
import socket
import struct
from contextlib import suppress

#: No user: the socket has been closed, or there never was one.
NO_USER = -1
_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST, _ANY_STATE, _ERROR = 4, 20, 1, 0xFFFFFFFF, 2
_HEADER_BYTES = 16
#: Offset of the user id in `struct inet_diag_msg`; the inode follows.
_USER_AT = _HEADER_BYTES + 64
_LIMIT_S = 1.0


def user_of(own: tuple[str, int], peer: tuple[str, int]) -> int | None:
    """Return the id of the user whose socket has the address `own` and is connected to `peer`.

    `NO_USER`: no process has such a socket, or not any more. None: the system does not tell (only Linux does).
    """
    with suppress(OSError, AttributeError, struct.error):
        family = socket.AF_INET6 if ":" in own[0] else socket.AF_INET
        addresses = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (own, peer))
        identity = struct.pack("!HH", own[1], peer[1]) + addresses + bytes(4) + b"\xff" * 8
        request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, _ANY_STATE) + identity
        header = struct.pack("=IHHII", _HEADER_BYTES + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
            kernel.settimeout(_LIMIT_S)
            kernel.sendto(header + request, (0, 0))
            answer = kernel.recv(4096)
        kind = struct.unpack_from("=H", answer, 4)[0]
        if kind == _SOCK_DIAG_BY_FAMILY:
            user, inode = struct.unpack_from("=II", answer, _USER_AT)
            return int(user) if inode else NO_USER  # of a closed one, Linux says that root has it
        if kind == _ERROR and struct.unpack_from("=i", answer, _HEADER_BYTES)[0] == -errno.ENOENT:
            return NO_USER
    return None
