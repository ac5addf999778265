"""Netlink messages, as far as this project writes and reads them by hand (linux/netlink.h).

Rule 1: bytes in, bytes out, and no copies: a lease is renewed and changes are heard many times a
        second, and a dump may tell of 50,000 connections.
Rule 2: what is no whole message ends a datagram; noise is neither an error nor an endless loop.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence

from vipnft.errors import KernelError

REQUEST, ACK, CREATE, DUMP = 0x001, 0x004, 0x400, 0x300  # flags: NLM_F_...
ERROR, DONE = 2, 3  # kinds: NLMSG_...
ROUTE, SOCK_DIAG, NETFILTER = 0, 4, 12  # protocols: NETLINK_...
_HEADER = struct.Struct("=IHHII")
_CODE = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF  # without NLA_F_NESTED and _NET_BYTEORDER
_NESTED = 0x8000
_DATAGRAM_BYTES = 1 << 18


def opened(protocol: int) -> socket.socket:
    """Return a socket of this network namespace, with an address of its own: without one it is
    taken for the kernel's, and told nothing. KernelError if there is none to be had."""
    try:
        one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            one.bind((0, 0))
        except OSError:
            one.close()
            raise
    except OSError as error:
        raise KernelError(f"the kernel gives no netlink socket: {error.strerror}") from error
    return one


def padded(body: bytes) -> bytes:
    """Return it filled up to where the next message or attribute may begin."""
    return body + bytes(-len(body) % 4)


def message(kind: int, flags: int, body: bytes, number: int = 1) -> bytes:
    """Return a message with its header; `body` is padded already."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body


def attribute(kind: int, value: bytes | Sequence[bytes]) -> bytes:
    """Return an attribute: of bytes, or of attributes."""
    if not isinstance(value, bytes):
        kind, value = kind | _NESTED, b"".join(value)
    return padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value)


def attributes(data: bytes | bytearray, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield, of each attribute between `begin` and `end` in `data`: kind, and its value's begin
    and end there."""
    while begin + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, begin)
        if not _ATTRIBUTE.size <= length <= end - begin:
            return
        yield kind & _KIND, begin + _ATTRIBUTE.size, begin + length
        begin += length + 3 & ~3


def messages(data: bytes | bytearray, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield, of each message in the first `size` bytes: kind, number, and its body's begin and
    end in `data`."""
    at = 0
    while at + _HEADER.size <= size:
        length, kind, _, number, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= size - at:
            return
        yield kind, number, at + _HEADER.size, at + length
        at += length + 3 & ~3


def refused(data: bytes | bytearray, begin: int, end: int) -> int:
    """Return the error number in the body of an ERROR or a DONE; 0 if all went well."""
    return -int(_CODE.unpack_from(data, begin)[0]) if end - begin >= _CODE.size else 0


def dump(
    kernel: socket.socket, kind: int, body: bytes, what: str
) -> Iterator[tuple[int, bytes, int, int]]:
    """Ask for all there is of a kind; yield each answer's kind, the datagram that it came in,
    and its body's begin and end there. KernelError, with `what`, if the kernel refuses."""
    try:
        kernel.send(message(kind, REQUEST | DUMP, body))
        while True:
            data = kernel.recv(_DATAGRAM_BYTES)
            for answer, _, begin, end in messages(data, len(data)):
                if answer in {ERROR, DONE}:
                    if number := refused(data, begin, end):
                        raise OSError(number, os.strerror(number))
                    return
                yield answer, data, begin, end
    except OSError as error:
        raise KernelError(f"the kernel does not tell {what}: {error.strerror}") from error
