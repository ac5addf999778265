"""Which buckets are a client's?"""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from vipnft.errors import UsageError
from vipnft.model import Address, Cluster, Service
from vipnft.ruleset import affinity


def client(word: str) -> tuple[Address, int | None]:
    """Return the address, and the port if there is one, of such as 198.51.100.7:4000."""
    found = re.fullmatch(r"\[(.+)\]:([0-9]{1,5})|([0-9.]+):([0-9]{1,5})", word)
    text, port = (found[1] or found[3], found[2] or found[4]) if found else (word, None)
    try:
        address = ip_address(text)
        if "%" in text or (port is not None and int(port) > 65535):
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"{word!r} is neither an IP address nor one with a port",
            fix="such as 198.51.100.7, 2001:db8::7, 198.51.100.7:4000 or [2001:db8::7]:4000",
        ) from error
    return address, None if port is None else int(port)


def buckets(
    cluster: Cluster, address: Address, port: int | None
) -> Iterator[tuple[str, int | None]]:
    """Yield a client's buckets: for each way in which services are dealt, those services ("": all
    others) and the bucket; None where the port decides, and none is given."""
    kind, special = affinity.dealt(cluster.services)
    kinds = {kind: ""}
    for service in special:
        one = affinity.hash_key(service)
        kinds[one] = f"{kinds.get(one, '')} {_label(service)}"
    for one, label in kinds.items():
        if one.port and port is None:
            yield label.strip(), None
        else:
            number = affinity.bucket(one, address, cluster.seed, cluster.buckets, port or 0)
            yield label.strip(), number


def _label(service: Service) -> str:
    ports = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in service.ports)
    return f"{service.protocol}/{ports}"
