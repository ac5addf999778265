"""The XDP stage against its twin in Python, and against the rules, in a network of its own.

    unshare --net python -m tests.fuzz.stage COUNT SEED     (root; by `make fuzz`, and by tests)

Rule 1: whatever the stage drops, the rules drop: it is sent to them, and none comes through.
Rule 2: the twin says what is to be dropped: a stage that drops nothing is no stage.
"""

import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tests.samples import LISTEN, OWN, small
from vipnft.buckets.phases import phases
from vipnft.kernel import libc, nft
from vipnft.kernel.xdp import Program
from vipnft.model import Affinity, Cluster, Drains, Mode, Owners, Protocol, Service
from vipnft.ruleset import affinity, stage, transactions
from vipnft.ruleset.affinity import CLIENT, HashKey
from vipnft.ruleset.ndp import mac

ME = "web1"
_VIPS = ("192.0.2.100", "2001:db8::100")
_PORTS = {6, 17, 132}
_MORE_V4 = tuple(f"192.0.2.{n}" for n in range(101, 119))
_COUNTERS = """
table netdev seen {
    chain first { type filter hook ingress device "eth0" priority -400; counter; }
    chain last { type filter hook ingress device "eth0" priority 0; counter; }
}
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A host's part of a cluster, and the key by which its clients are dealt."""

    cluster: Cluster
    owners: Owners
    drains: Drains
    key: HashKey

    @property
    def foreign(self) -> frozenset[int]:
        return stage.foreign(self.owners, self.drains, ME)


def _service(prefix4: int, prefix6: int) -> tuple[Service, ...]:
    subnet = partial(Service, affinity=Affinity.SUBNET, prefix4=prefix4, prefix6=prefix6)
    return tuple(subnet(protocol=one, ports=((1, 65535),)) for one in Protocol)


def parts(draw: random.Random) -> Iterator[Part]:
    """Yield parts of clusters that differ in all that the stage is told."""
    for vips, buckets, services, key in (
        (_VIPS, 256, (), CLIENT),
        (_VIPS, 1, (), CLIENT),
        (_VIPS[:1] + _MORE_V4, 1000, (), CLIENT),
        ((*_VIPS, "2001:db8:0:1::7"), 65, _service(prefix4=24, prefix6=64), HashKey(24, 64)),
        (_VIPS, 256, _service(prefix4=19, prefix6=45), HashKey(19, 45)),
        (_VIPS[1:], 256, _service(prefix4=32, prefix6=101), HashKey(32, 101)),
    ):
        seed = draw.getrandbits(32)
        cluster = small(3, vips, buckets=buckets, seed=seed, services=services)
        owners = tuple(draw.choice(("web1", "web2", "web2", "")) for _ in range(buckets))
        drains = {
            b: dict.fromkeys(draw.sample(("web1", "web2", "web3"), draw.randint(1, 2)), 900.0)
            for b in draw.sample(range(buckets), buckets // 5)
        }
        yield Part(cluster, owners, drains, key)


def dropped(part: Part, frame: bytes) -> bool:
    """Tell what the stage is to do with a frame."""
    kind, ip = frame[12:14], frame[14:]
    vips = [vip.packed for vip in part.cluster.vips]
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(kind)
    if version is None or len(ip) < {4: 20, 6: 40}[version]:
        return False
    first = [vip for vip in vips if len(vip) == {4: 4, 6: 16}[version]][:16]
    client: IPv4Address | IPv6Address
    if version == 4:
        fragmented = int.from_bytes(ip[6:8], "big") & 0x3FFF
        known = ip[0] == 0x45 and not fragmented and ip[9] in _PORTS and ip[16:20] in first
        client = IPv4Address(ip[12:16])
    else:
        known = ip[0] >> 4 == 6 and ip[6] in _PORTS and ip[24:40] in first
        client = IPv6Address(ip[8:24])
    if not known:
        return False
    seed, buckets = part.cluster.seed, part.cluster.buckets
    return affinity.bucket(part.key, client, seed, buckets) in part.foreign


def frame(draw: random.Random, vips: Sequence[str]) -> bytes:
    """Return a frame: mostly one to a VIP that could be sent, often with something wrong in it."""
    to = mac(draw.choice((LISTEN, LISTEN, LISTEN, OWN, "ff:ff:ff:ff:ff:ff", "02:00:00:00:77:77")))
    if draw.random() < 0.03:
        return to + draw.randbytes(draw.randint(8, 90))
    vip = ip_address(draw.choice(vips)).packed
    if draw.random() < 0.05:
        vip = draw.randbytes(len(vip))
    protocol = draw.choice(
        (6, 6, 17, 17, 132, 1, 58, 0, 43, 44, 51, 60, 41, 59, draw.randrange(256))
    )
    body = _body(draw, protocol)
    packet = _ipv4(draw, vip, protocol, body) if len(vip) == 4 else _ipv6(draw, vip, protocol, body)
    kind = b"\x08\x00" if len(vip) == 4 else b"\x86\xdd"
    if draw.random() < 0.05:
        kind = draw.choice((b"\x81\x00\x00\x05", b"\x88\xa8\x00\x05", b"\x81\x00\x00\x00")) + kind
    elif draw.random() < 0.02:
        kind = draw.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06", draw.randbytes(2)))
    whole = bytearray(to + mac("02:00:00:01:00:00") + kind + packet)
    for _ in range(draw.choice((0, 0, 0, 0, 0, 1, 3))):  # noise, but for whom it is for
        whole[draw.randrange(12, len(whole))] = draw.randrange(256)
    if draw.random() < 0.15:
        whole = whole[: draw.randint(14, len(whole))]
    return bytes(whole)


def _body(draw: random.Random, protocol: int) -> bytes:
    ports = struct.pack("!HH", draw.randrange(65536), draw.choice((80, 53, draw.randrange(65536))))
    if protocol == 6:
        flags = draw.choice((0x02, 0x10, 0x18, 0x12, 0x04, 0x14, draw.randrange(256)))
        return (
            ports
            + struct.pack("!IIBBHHH", 7, 9, 0x50, flags, 1024, 0, 0)
            + bytes(draw.randrange(40))
        )
    if protocol == 44:
        return (
            struct.pack("!BBHI", draw.choice((6, 17, 58)), 0, draw.choice((0, 1, 8)), 7) + ports * 5
        )
    if protocol in {0, 43, 60}:
        return struct.pack("!BB6x", draw.choice((6, 17, 58)), 0) + ports * 5
    return (
        ports + struct.pack("!HH", 8 + draw.randrange(60), 0) + draw.randbytes(draw.randrange(60))
    )


def _ipv4(draw: random.Random, vip: bytes, protocol: int, body: bytes) -> bytes:
    client = draw.choice((bytes((10, 64, 0)) + draw.randbytes(1), draw.randbytes(4)))
    words = draw.choice((5, 5, 5, 5, 6, 15))
    fragment = draw.choice((0, 0, 0, 0, 0x4000, 0x2000, 0x0005, 0x8000))
    size = 4 * words + len(body)
    options = b"\1" * (4 * words - 20)
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, size, 7, fragment, 64, protocol, 0)
    return head + client + vip + options + body


def _ipv6(draw: random.Random, vip: bytes, protocol: int, body: bytes) -> bytes:
    near = IPv6Address("2001:db8:5::").packed[:-2]
    client = draw.choice((near + draw.randbytes(2), draw.randbytes(16)))
    flow = 6 << 28 | draw.choice((0, draw.getrandbits(28)))
    return (
        struct.pack("!IHBB", flow, len(body), protocol, draw.choice((64, 255)))
        + client
        + vip
        + body
    )


class Rules:
    """The rules on eth0 of this network namespace, and a port that leads there."""

    def __init__(self) -> None:
        link = "ip link add eth0 address {} type veth peer out; ip link set lo up"
        quiet = (
            "sysctl -qw net.ipv6.conf.out.disable_ipv6=1; ip link set out up; ip link set eth0 up"
        )
        subprocess.run(["sh", "-ec", f"{link.format(OWN)}; {quiet}"], check=True)
        self._port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._port.bind(("out", 0))

    def load(self, part: Part, mode: Mode) -> None:
        """Have the kernel hold a part, granted, as `apply` does."""
        every = phases(part.owners, part.drains, ME, 0.0)
        macs = {"eth0": libc.mac_of("eth0") or ""}
        nft.apply(transactions.whole(part.cluster, ME, mode, macs, every, granted=True))
        nft.run("add table netdev seen; delete table netdev seen")
        nft.run(_COUNTERS)

    def through(self, frames: Sequence[bytes]) -> tuple[int, int]:
        """Send frames; return how many came, and how many of these came through."""
        before = self._counts()
        for one in frames:
            self._port.send(one)
        after = self._counts()
        return after[0] - before[0], after[1] - before[1]

    def _counts(self) -> tuple[int, int]:
        words = ["nft", "list", "table", "netdev", "seen"]
        text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        first, last = (int(one.split()[0]) for one in text.split("packets ")[1:])
        return first, last


def compare(count: int, seed: int) -> dict[str, int]:
    """Try so many frames; return what became of them. AssertionError where the stage is wrong."""
    draw, rules = random.Random(seed), Rules()
    found = {"frames": 0, "dropped": 0, "passed": 0, "passed and taken": 0}
    every = list(parts(draw))
    for number, part in enumerate(every):
        program = Program.load(
            stage.told(part.cluster, part.cluster.nics(ME)[0]), part.cluster.buckets
        )
        program.drop(stage.words(part.foreign, part.cluster.buckets))
        rules.load(part, list(Mode)[number % 2])
        vips = [str(vip) for vip in part.cluster.vips]
        by_verdict: dict[bool, list[bytes]] = {True: [], False: []}
        for _ in range(count // len(every)):
            one = frame(draw, vips)
            drops = program.run(one)
            assert drops == dropped(part, one), (number, drops, one.hex())
            by_verdict[drops].append(one)
        assert sum(program.dropped()) == len(by_verdict[True])
        came, taken = rules.through(by_verdict[True])
        assert came == len(by_verdict[True])
        assert taken == 0, _culprit(rules, by_verdict[True])
        _, passed = rules.through(by_verdict[False])
        found["frames"] += count // len(every)
        found["dropped"] += len(by_verdict[True])
        found["passed"] += len(by_verdict[False])
        found["passed and taken"] += passed
        program.close()
    return found


def _culprit(rules: Rules, frames: Sequence[bytes]) -> str:
    return next(one.hex() for one in frames if rules.through([one])[1])


def alone(count: int, seed: int) -> str:
    """Run this module in a network namespace of its own; return what it said."""
    words = ["unshare", "--net", sys.executable, "-m", "tests.fuzz.stage", str(count), str(seed)]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


if __name__ == "__main__":
    print(compare(int(sys.argv[1]), int(sys.argv[2])))
