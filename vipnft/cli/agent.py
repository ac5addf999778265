"""The verb that keeps a host in step with the others: agent."""

import os
import signal
import sys

from vipnft.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Drain,
    HostName,
    Hub,
    Igmp,
    Multicast,
    StoreUrl,
    Switch,
    here,
    load,
    pick_mode,
    pick_store,
    seconds,
)
from vipnft.cli.output import say


def agent(
    hub: Hub = False,
    switch: Switch = False,
    multicast: Multicast = False,
    igmp: Igmp = False,
    config: Config = DEFAULT_CONFIG,
    host: HostName = "",
    store: StoreUrl = "",
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
    from vipnft.store import opening

    cluster = load(config)
    mode = pick_mode(hub, switch, multicast, igmp, file=cluster.mode)
    name = here(cluster, host)
    url = pick_store(store, cluster)
    require_privileged()
    orders = Orders(
        cluster=cluster,
        host=name,
        mode=mode,
        drain=seconds(drain),
        reread=lambda: load(config).require_host(name),
        log=_log,
    )
    for advice in opening.advice(url, cluster.agents.password_file):
        _log(f"WARNING: {advice}")
    ended = run(orders, opening.open_store(url, cluster.name, cluster.agents.password_file))
    if ended is End.RENEWED:
        # Signals are blocked by now and stay so over exec, until the new life listens.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _log(text: str) -> None:
    say(text, error=True)
