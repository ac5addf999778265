"""The verb that tells whose a client is: which."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, load
from vipnft.cli.output import say
from vipnft.errors import UsageError

if TYPE_CHECKING:
    from vipnft.model import Address, Service


def which(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help="Clients' addresses, or address:port; else lines of standard input."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Tell the bucket and the host of a client's address, as the kernel decides it.

    Services that are dealt by network or by flow have lines of their own; the latter need a port:
    198.51.100.7:4000, [2001:db8::7]:4000.
    """
    from vipnft.buckets.phases import owners_of
    from vipnft.ruleset import affinity

    cluster = load(config)
    owners = owners_of(cluster)
    kind, special = affinity.dealt(cluster.services)
    for word in addresses or (line.strip() for line in sys.stdin or ()):
        if not word:
            continue
        client, port = _client(word)
        kinds = {kind: ""}
        for service in special:
            one = affinity.hash_key(service)
            kinds[one] = f"{kinds.get(one, '')} {_label(service)}"
        for one, label in kinds.items():
            if one.port and port is None:
                say(f"{word} by-port -{label}")
                continue
            number = affinity.bucket(one, client, cluster.seed, cluster.buckets, port or 0)
            say(f"{word} {number} {owners[number]}{label}")


def _client(word: str) -> "tuple[Address, int | None]":
    """Return the address, and the port if there is one, of such as 198.51.100.7:4000."""
    from ipaddress import ip_address

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


def _label(service: "Service") -> str:
    ports = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in service.ports)
    return f"{service.protocol}/{ports}"
