"""UDP at some of this host's addresses, and no other: never at a VIP."""

import os
import select
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

_BYTES = 2048


class Datagrams:
    """A socket at each of some addresses, all at one port. One thread receives; any may send."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._sockets: Mapping[str, socket.socket] = {}
        self._gone: list[socket.socket] = []  # to be closed by who receives: he may wait for them
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def stand(self, addresses: Collection[str]) -> str:
        """Be at these addresses from now on, as far as they can be had; return why one can't,
        such as that another program has the port: "" if all can."""
        found: dict[str, socket.socket] = {}
        why = ""
        for one in addresses:
            try:
                found[one] = self._sockets.get(one) or _bound(one, self.port)
            except OSError as error:
                why = why or f"UDP port {self.port} at {one} can't be had: {error.strerror}"
        gone = [each for one, each in self._sockets.items() if one not in found]
        self._sockets = found
        self._gone += gone
        self.wake()
        return why

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is."""
        return tuple(self._sockets)

    def send(self, address: str, port: int, data: bytes, *, by: str = "") -> None:
        """Send from one of these addresses, or from that which the kernel would choose; what
        can't be sent is as lost."""
        with suppress(OSError):
            source = self._sockets.get(by) or self._source(address, port)
            if source is not None:
                source.sendto(data, (address, port))

    def _source(self, address: str, port: int) -> socket.socket | None:
        family = _family(address)
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as trial:
            trial.connect((address, port))  # sends nothing
            chosen = self._sockets.get(trial.getsockname()[0])
        several = (one for one in self._sockets.values() if one.family == family)
        return chosen or next(several, None)

    def receive(self, seconds: float) -> Iterator[tuple[bytes, str, int, str]]:
        """Yield what comes within so many seconds, or is there by then: the bytes, the sender's
        address and port, and the address that it came to. Ends early after `wake`."""
        while self._gone:
            self._gone.pop().close()
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        known = {one.fileno(): (address, one) for address, one in self._sockets.items()}
        for number in known:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(max(0.0, seconds) * 1000):
            if number == self._wake:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
                continue
            address, one = known[number]
            with suppress(OSError):  # a refusal that an earlier one met
                data, whence = one.recvfrom(_BYTES)
                yield data, whence[0], whence[1], address

    def wake(self) -> None:
        """End `receive` early."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the port back; nobody receives any more."""
        for one in (*self._sockets.values(), *self._gone):
            one.close()
        self._sockets = {}
        os.close(self._wake)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


def _bound(address: str, port: int) -> socket.socket:
    one = socket.socket(
        _family(address), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    try:
        one.bind((address, port))
    except OSError:
        one.close()
        raise
    return one
