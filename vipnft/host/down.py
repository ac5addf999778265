"""Give this machine back as it was before the first `apply`.

Rule 1: down is up backwards: silence first, then address, listen MAC, rules, settings.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from vipnft.errors import KernelError
from vipnft.host import asked, deeds, loaded, locks, published, record, stage
from vipnft.host.change import Outcome, Undo, attempt
from vipnft.host.locks import require_untended, uninterrupted
from vipnft.host.preflight import require_privileged
from vipnft.host.stage import Stage
from vipnft.kernel import nft, sysctl
from vipnft.kernel.links import Link, Links
from vipnft.model import Applied, InterfaceRecord, Mode
from vipnft.ruleset import transactions
from vipnft.ruleset.tables import NETDEV, TABLES


def down() -> Outcome:
    """Give this machine back as it was before the first `apply`; nothing applied is fine."""
    require_privileged()
    return give_back(tended=False)


def give_back(*, tended: bool) -> Outcome:
    """Do what `down` does; `tended` for the agent that lives here, else refused where one does."""
    with locks.locked(), Links() as links, uninterrupted():
        if not tended:
            require_untended()
        published.forget()
        asked.forget()
        applied = record.load()
        if applied is None:
            return _sweep()
        notes: list[str] = []
        failures = attempt(_steps_down(links, applied, notes))
        if failures:
            raise KernelError(
                "not all could be given back: " + "; ".join(failures),
                fix="mend what it names and run `vipnft down` again",
            )
        loaded.forget()
        stage.forget()
        record.forget()
        outcome = Outcome(changed=True, notes=tuple(notes))
        return outcome if tended else deeds.told(outcome, applied, "down: this host is as it was")


def _steps_down(links: Links, applied: Applied, notes: list[str]) -> Iterator[Undo]:
    # By their index: they may have other names by now.
    own_links = {
        name: link
        for name, worn in applied.worn.items()
        if (link := links.at(worn.index)) is not None
    }
    yield partial(
        Stage().off, own_links, applied.cluster
    )  # while the rules still drop what it drops
    if nft.listing((NETDEV,)):
        yield _revoke
    for vip in applied.addresses:
        yield partial(links.remove_address, vip)
    for name, link in own_links.items():
        yield from _unlisten(links, link, applied.worn[name], applied.mode, notes)
    yield partial(nft.apply, transactions.nothing())
    for key, value in applied.sysctls.items():
        name = next((one for one in applied.worn if f"/conf/{one}/" in key), "")
        if name in own_links:
            here = key.replace(f"/conf/{name}/", f"/conf/{own_links[name].name}/")
            if sysctl.read(here) != value:
                yield partial(sysctl.write, here, value)


def _unlisten(
    links: Links, link: Link, worn: InterfaceRecord, mode: Mode, notes: list[str]
) -> Iterator[Undo]:
    for group in worn.groups:
        yield partial(links.leave, link, group)
    if mode is Mode.HUB and link.mac != worn.mac:
        yield lambda: notes.extend(links.set_mac(link, worn.mac))
    for mac in worn.filters:
        yield partial(links.unlisten, link, mac)


def _revoke() -> None:
    """Fall silent at once; a ruleset that somebody broke may lack the set for it."""
    with suppress(KernelError):
        nft.apply([*transactions.grant(), *transactions.revoke()])


def _sweep() -> Outcome:
    """Without a record: remove nft tables of ours that somehow stayed, and say what may be left."""
    if not nft.listing(TABLES):
        return Outcome(changed=False)
    nft.apply(transactions.nothing())
    raise KernelError(
        "nft tables named vipnft stood here without a record of what was before; they are removed",
        fix="look for the rest: VIPs on lo, the listen MAC on or in the filter of the interface,"
        " arp_ignore and arp_announce",
    )
