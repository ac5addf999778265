"""Can this host ask the others for promises, and they it? For `vipnft check`.

Rule 1: nothing is changed, and nobody is asked anything that counts: a knock promises nothing.
Rule 2: where an agent serves here it has the port, and knows itself who hears it.
"""

import secrets
import time
from collections.abc import Iterator, Mapping

from vipnft.agreement.datagrams import Datagram, Kind, fits
from vipnft.agreement.records import Contact, Member, members
from vipnft.errors import VipnftError
from vipnft.host import locks
from vipnft.host.preflight import Finding, Grade
from vipnft.kernel import link_glance
from vipnft.kernel.datagrams import Datagrams
from vipnft.model import Cluster, StoreLoss
from vipnft.store import opening

_STORE_S = 2.0  # seconds in which the store tells where the others are
_WAIT_S = 1.0  # seconds in which they answer
_TIMES = 4  # that they are asked in it


def findings(cluster: Cluster, name: str) -> Iterator[Finding]:
    """Yield what speaks for and against asking as host `name`; nothing where nobody asks."""
    agents = cluster.agents
    if not agents.store or agents.on_store_loss is not StoreLoss.FAILSAFE:
        return
    interfaces = [nic.interface for nic in cluster.nics(name)]
    addresses = link_glance.own(interfaces, cluster.vips)
    if not addresses:
        yield Finding(
            Grade.WARN,
            f"{', '.join(interfaces)} has no address of its own: nobody can ask this host for"
            " promises, so while the store is away all hosts are silent after a lease",
            'give it an address, or set on_store_loss = "fence" or "hold"',
        )
        return
    if locks.tended():
        yield from _others(cluster, name, None)
        return
    net = Datagrams(agents.promise_port)
    try:
        if why := net.stand(addresses):
            yield Finding(
                Grade.FAIL,
                why,
                f"end what has it (ss -lunp sport = :{net.port}), or set another promise_port",
            )
            return
        yield Finding(Grade.OK, f"UDP port {net.port} is free at {', '.join(addresses)}")
        yield from _others(cluster, name, net)
    finally:
        net.close()


def _others(cluster: Cluster, name: str, net: Datagrams | None) -> Iterator[Finding]:
    """Yield who of the hosts that the store knows answers here."""
    try:
        known = _known(cluster)
    except VipnftError as error:
        yield Finding(
            Grade.WARN,
            f"the other hosts were not asked whether they hear this one: {error}",
            error.fix,
        )
        return
    mine, others = known.get(name), {h: m for h, m in known.items() if h != name}
    mute = sorted(host for host, member in others.items() if member.contact is None)
    contacts = {host: member.contact for host, member in others.items() if member.contact}
    if net is not None:
        deaf = sorted(set(contacts) - _heard(net, name, contacts))
    else:
        deaf = sorted(set(contacts) & (mine.unheard if mine else frozenset()))
    if mute:
        yield Finding(
            Grade.WARN,
            f"{', '.join(mute)} can't be asked for promises: all hosts are silent a lease after the"
            " store is away",
            "see what its agent's log says of promises",
        )
    port = cluster.agents.promise_port
    if deaf:
        yield Finding(
            Grade.FAIL,
            f"{', '.join(deaf)} does not answer this host at UDP port {port}",
            f"let UDP port {port} pass between the hosts' own addresses, both ways; or start its"
            " agent",
        )
    if heard := sorted(set(contacts) - set(deaf)):
        yield Finding(Grade.OK, f"{', '.join(heard)} answer at UDP port {port}")


def _known(cluster: Cluster) -> Mapping[str, Member]:
    """Return the agents' keys, of a store that is there; asking makes none."""
    agents = cluster.agents
    if not opening.is_there(agents.store):
        return {}
    store = opening.open_store(agents.store, cluster.name, agents.password_file)
    try:
        found = members(store.transact({}, {}, timeout=_STORE_S).snapshot)
    finally:
        store.close()
    return {host: member for host, member in found.items() if host in cluster.weights}


def _heard(net: Datagrams, name: str, contacts: Mapping[str, Contact]) -> set[str]:
    """Knock at hosts; return who answered."""
    nonce, found = secrets.token_bytes(8), set[str]()
    ends = time.monotonic() + _WAIT_S
    while (now := time.monotonic()) < ends and (left := set(contacts) - found):
        for host in left:
            knock = Datagram(
                kind=Kind.KNOCK, sender=name, receiver=host, counter=0, nonce=nonce
            ).sealed("", contacts[host].secret)
            for address in contacts[host].addresses:
                net.send(address, contacts[host].port, knock)
        again = min(now + _WAIT_S / _TIMES, ends)
        while set(contacts) - found and (now := time.monotonic()) < again:
            for data, *_ in net.receive(again - now):
                said = Datagram.load(data)
                contact = contacts.get(said.sender) if said else None
                if (
                    said
                    and contact
                    and (said.kind, said.nonce) == (Kind.HERE, nonce)
                    and fits(data, "", contact.secret)
                ):
                    found.add(said.sender)
    return found
