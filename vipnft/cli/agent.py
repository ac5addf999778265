"""The verb that keeps a host in step with the others: agent."""

import os
import signal
import sys
from typing import Annotated

import typer

from vipnft.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Drain,
    HostName,
    Hub,
    Igmp,
    Multicast,
    Switch,
    here,
    load,
    pick_mode,
    seconds,
)
from vipnft.errors import UsageError


def agent(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    config: Config = DEFAULT_CONFIG,
    host: HostName = "",
    store: Annotated[
        str, typer.Option(metavar="URL", help="sqlite:///path or etcd://...; else the file's.")
    ] = "",
    drain: Drain = "5m",
) -> None:
    """Keep this host in step with the others, and take over from the dead, until stopped.

    SIGTERM gives everything away, drains and takes down; SIGHUP re-reads the file and begins
    anew, also with a new version of this program.
    """
    from vipnft.agent.loop import Orders, run
    from vipnft.agent.signals import HANDLED
    from vipnft.agreement.effects import End
    from vipnft.host.preflight import require_privileged
    from vipnft.store.opening import open_store

    cluster = load(config)
    mode = pick_mode(hub, switch, multicast, igmp, file=cluster.mode)
    name = here(cluster, host)
    url = store or cluster.agents.store
    if not url:
        raise UsageError(
            "agents need a store to agree through, and none is given",
            fix='[cluster] store = "etcd://..." in the file, or --store URL',
        )
    require_privileged()
    orders = Orders(
        cluster=cluster,
        host=name,
        mode=mode,
        drain=seconds(drain),
        reread=lambda: load(config).require_host(name),
        log=_log,
    )
    print(f"agent of {name} in cluster {cluster.name!r}, {mode} mode", file=sys.stderr, flush=True)
    ended = run(orders, open_store(url, cluster.name))
    if ended is End.RENEWED:
        # Signals are blocked by now and stay so over exec, until the new life listens.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
