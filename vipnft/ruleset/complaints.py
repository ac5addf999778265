"""ICMP errors from a VIP: what a stack says of a packet that it can't take.

Rule 1: of a bucket on the move two stacks may get one packet, and both would complain of it: the
        former owner does not. What is his own connection's is in order, or the new owner says so.
Rule 2: a complaint belongs to the client whose packet it returns, and to its port where that
        decides.
"""

from collections.abc import Iterator, Sequence

from vipnft.model import Cluster, Nic
from vipnft.ruleset import affinity
from vipnft.ruleset.affinity import Version
from vipnft.ruleset.netdev import NUMBERS
from vipnft.ruleset.nftjson import (
    ACCEPT,
    DROP,
    MARK,
    Commands,
    Stmt,
    assign,
    goto,
    jump,
    match,
    one_of,
    payload,
    raw,
)
from vipnft.ruleset.served import hashed, ports, versions
from vipnft.ruleset.tables import INET


def complaints(cluster: Cluster, nics: Sequence[Nic], beyond: Stmt) -> Commands:
    """Return the chains that judge them; `beyond` matches what leaves by no segment."""
    clear = assign(MARK, 0)
    return [
        *INET.chain("about", *_about(cluster, nics)),
        *INET.chain(
            "complaint",
            [beyond, ACCEPT],
            [jump("about")],
            [match(MARK, "@drains"), clear, DROP],
            [clear],
        ),
    ]


def judged(nics: Sequence[Nic]) -> Iterator[list[Stmt]]:
    """Yield the rules that bring them there."""
    for version in versions(nics):
        yield [_error(version), goto("complaint")]


def _about(cluster: Cluster, nics: Sequence[Nic]) -> Iterator[list[Stmt]]:
    kind, special = affinity.dealt(cluster.services)
    for version in versions(nics):
        error = _error(version)
        yield [error, hashed(cluster, affinity.returned(kind, affinity.turned(version)))]
        for service in special:
            key = affinity.hash_key(service)
            for inside, shape in affinity.shapes(version, NUMBERS[service.protocol]):
                asked = match(raw("th", shape.ports + 16, 16), ports(service))
                bucket = hashed(cluster, affinity.returned(key, affinity.turned(shape)))
                yield [error, *inside, asked, bucket]


def _error(version: Version) -> Stmt:
    header = "icmp" if version.header == "ip" else "icmpv6"
    return match(payload(header, "type"), one_of(version.errors))
