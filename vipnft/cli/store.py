"""The verb for the agents' store: store-setup."""

from typing import Annotated

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, load
from vipnft.cli.output import document, say
from vipnft.errors import UsageError


def store_setup(
    member: Annotated[
        str, typer.Argument(metavar="[MEMBER]", help="This host of the store's URL only.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Ask the members how they are, instead.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print etcd's configuration for the hosts that the cluster file's store names.

    An environment file a member, as /etc/default/etcd on Debian: timings that fit the lease,
    compaction, quota. With --check: whether the members are well; exit code 1 if not.
    """
    from vipnft.store import etcd_setup
    from vipnft.store.etcd_url import parsed

    cluster = load(config)
    store = cluster.agents.store
    if not store.startswith("etcd://"):
        raise UsageError(
            f"the cluster file's store is {store!r}" if store else "the cluster file has no store",
            fix='[cluster] store = "etcd://HOST,HOST,HOST", three of the hosts',
        )
    url = parsed(store, cluster.agents.password_file)
    if check:
        found = list(etcd_setup.examined(url))
        for verdict in found:
            say(f"{'ok' if verdict.good else 'FAIL':<5} {verdict.what}")
            if verdict.fix:
                say(f"      fix: {verdict.fix}")
        if not all(verdict.good for verdict in found):
            raise typer.Exit(1)
        return
    files = etcd_setup.configuration(url, cluster.name, cluster.agents.lease)
    if member and member not in files:
        raise UsageError(
            f"{member!r} is no host of {url.shown}", fix=f"one of these: {', '.join(files)}"
        )
    for host, text in files.items():
        if not member:
            say(f"# {host}: /etc/default/etcd")
        if member in {"", host}:
            document(text, end="" if member else "\n")
