"""The verbs that speak to all agents through their store: weight, drain, resume, off, and what
`status --cluster` shows."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, StoreUrl, load, pick_store
from vipnft.cli.output import document, say
from vipnft.errors import UsageError

if TYPE_CHECKING:
    from vipnft.agreement.records import Order
    from vipnft.model import Snapshot
    from vipnft.store.contract import Store

STORE_POLL_S = 5.0  # seconds in which a store must answer a person
_LOOK_S = 0.05

HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host of the cluster file.")]


def weight(
    host: HostName,
    share: Annotated[int, typer.Argument(metavar="N", help="Against the others' weights.")],
    config: Config = DEFAULT_CONFIG,
    store: StoreUrl = "",
) -> None:
    """Change a host's share while its agent runs, from any host; kept until it is changed again."""
    from dataclasses import replace

    if not 0 <= share <= 1000:
        raise UsageError(f"weight {share} can't be used", fix="use a whole number from 0 to 1000")
    _order(config, store, host, lambda order: replace(order, weight=share), serve=share > 0)
    say(f"{host} has weight {share} now; buckets move as far as they must")


def drain(host: HostName, config: Config = DEFAULT_CONFIG, store: StoreUrl = "") -> None:
    """Let a host give its buckets away and keep its connections until they end; until `resume`."""
    from dataclasses import replace

    _order(config, store, host, lambda order: replace(order, drained=True), serve=False)
    say(f"{host} gives its buckets away; `vipnft resume {host}` ends that")


def resume(host: HostName, config: Config = DEFAULT_CONFIG, store: StoreUrl = "") -> None:
    """Give a drained host its share again."""
    from dataclasses import replace

    _order(config, store, host, lambda order: replace(order, drained=False), serve=True)
    say(f"{host} takes its share again")


def off(host: HostName, config: Config = DEFAULT_CONFIG, store: StoreUrl = "") -> None:
    """Say that a silent host is off, so that the others take over; until its agent beats again.

    Needed where hosts carry on without the store (on_store_loss = "hold"), and silence says
    nothing; and under "failsafe" where nobody is left whom that host knew. Say it only of a host
    that is really off, or it answers beside its successor.
    """
    from dataclasses import replace

    from vipnft.agreement.records import key_of, members, order, order_of

    cluster, agreed = load(config), opened(config, store)
    first = agreed.transact({}, {}, timeout=STORE_POLL_S).snapshot
    if host not in members(first):
        cluster.require_host(host)
    version, key = _version(first, key_of(host)), order_of(host)
    end = time.monotonic() + _longest(first)
    while True:
        last = agreed.transact({}, {}, timeout=STORE_POLL_S).snapshot
        if _version(last, key_of(host)) != version:
            raise UsageError(
                f"{host} is not off: its agent beats", fix=f"say `vipnft drain {host}`, or stop it"
            )
        if time.monotonic() >= end:
            put = {key: replace(order(last, host), off=version).dump()}
            conditions = {key: _version(last, key), key_of(host): version}
            if agreed.transact(conditions, put, timeout=STORE_POLL_S).done:
                break
        time.sleep(_LOOK_S)
    say(f"{host} is off: the others take over what it had, and it comes back when its agent beats")


def _version(snapshot: "Snapshot", key: str) -> int:
    """Return a key's version: 0 if absent."""
    return snapshot[key].version if key in snapshot else 0


def _order(
    config: Path, url: str, host: str, change: "Callable[[Order], Order]", *, serve: bool
) -> None:
    """Change what is ordered for a host; UsageError where nobody else would be left to serve."""
    from vipnft.agreement.records import ABLE, members, order, order_of

    cluster = load(config)
    store = opened(config, url)
    key = order_of(host)
    while True:
        snapshot = store.transact({}, {}, timeout=STORE_POLL_S).snapshot
        if host not in members(snapshot):  # one in nobody's file may hold what it was given
            cluster.require_host(host)
        others = {name: m for name, m in members(snapshot).items() if name != host}
        left = [
            name
            for name, member in others.items()
            if member.weight and member.standing in ABLE and not order(snapshot, name).drained
        ]
        if not serve and host in members(snapshot) and not left:
            raise UsageError(
                f"{host} is the last host that serves", fix="resume another one first, or stop it"
            )
        version = _version(snapshot, key)
        put = {key: change(order(snapshot, host)).dump()}
        if store.transact({key: version}, put, timeout=STORE_POLL_S).done:
            return


def show(config: Path, url: str, *, as_json: bool) -> None:
    """Print what the agents agreed on, and who of them beats."""
    from vipnft.observe import cluster_report

    store = opened(config, url)
    first = last = store.transact({}, {}, timeout=STORE_POLL_S).snapshot
    end = time.monotonic() + _longest(first)
    while _silent(first, last) and time.monotonic() < end:
        time.sleep(_LOOK_S)
        last = store.transact({}, {}, timeout=STORE_POLL_S).snapshot
    report = cluster_report.build(load(config).name, last, _silent(first, last))
    if as_json:
        document(json.dumps(cluster_report.document(report), indent=1))
    else:
        document(cluster_report.text(report))


def opened(config: Path, url: str) -> "Store":
    """Return the store that a cluster file names, or the URL that is given."""
    from vipnft.store.opening import open_store

    cluster = load(config)
    chosen = pick_store(url, cluster)
    return open_store(chosen, cluster.name, cluster.agents.password_file)


def _longest(snapshot: "Snapshot") -> float:
    from vipnft.agreement.records import members, patience

    return max((patience(m.lease) for m in members(snapshot).values()), default=0.0)


def _silent(first: "Snapshot", last: "Snapshot") -> set[str]:
    """Return whose key did not move between two looks."""
    from vipnft.agreement.records import key_of, members

    return {
        host
        for host in members(last)
        if key_of(host) in first and first[key_of(host)].version == last[key_of(host)].version
    }
