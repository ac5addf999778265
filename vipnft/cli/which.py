"""The verb that tells whose a client is: which."""

import sys
from typing import Annotated

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, load
from vipnft.cli.output import say


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
    from vipnft.observe import whose

    cluster = load(config)
    owners = owners_of(cluster)
    for word in addresses or (line.strip() for line in sys.stdin or ()):
        if not word:
            continue
        client, port = whose.client(word)
        for label, number in whose.buckets(cluster, client, port):
            found = "by-port -" if number is None else f"{number} {owners[number]}"
            say(f"{word} {found}{f' {label}' if label else ''}")
