"""The XDP stage on this host's interfaces, in front of the rules.

Rule 1: it drops only what the rules drop, at each moment: `open` before they change, `settle`
        after.
Rule 2: it never keeps a host from serving. Where it can't be, the rules do alone, and a note says
        why; what can't be changed is taken off.
Rule 3: another's program is left alone. Which is ours tells its number, noted before it is
        attached: its name takes CAP_SYS_ADMIN to read.
Rule 4: what an earlier process attached nobody can change: it is replaced, as a whole.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from vipnft.errors import KernelError
from vipnft.host import kept
from vipnft.host.locks import path_of
from vipnft.kernel import libc, xdp
from vipnft.kernel.links import Link
from vipnft.kernel.xdp import Attached, Program, Where
from vipnft.model import Applied, Cluster, Nic, Xdp
from vipnft.ruleset import stage
from vipnft.ruleset.stage import StageFacts

_SUFFIX = ".xdp"


@dataclass(frozen=True, slots=True)
class _Noted:
    """What is kept in a file, by an interface's index: the numbers of our programs that are on it
    or about to be; of which version they are; and why the kernel took none."""

    numbers: Mapping[int, tuple[int, ...]]
    versions: Mapping[int, str]
    refused: Mapping[int, str]


class Stage:
    """One process's hold on the stage; `notes` say why it is not on an interface, by its name."""

    def __init__(self) -> None:
        self._held: dict[int, Program] = {}
        self._drops: frozenset[int] = frozenset()
        self._said: dict[str, str] = {}
        self.notes: dict[str, str] = {}

    def open(self, own_links: Mapping[str, Link], now: Applied, safe: frozenset[int]) -> None:
        """Before the rules change to what `now` says: drop `safe` alone, what both the old rules
        and the new ones drop. KernelError if it stands there and can't be changed."""
        noted, self._drops = _noted(), safe
        for nic in now.nics:
            link = own_links[nic.interface]
            found = _left(link.index, now.cluster, noted)
            if found is None:
                continue
            if now.cluster.xdp is Xdp.OFF or stage.unfit(now.cluster, tagged=False):
                self._off(link.index, found)
                continue
            try:
                self._put(link.index, nic, now.cluster, found.where, found)
            except KernelError:
                self._off(link.index, found)

    def settle(self, own_links: Mapping[str, Link], now: Applied, vlans: Collection[str]) -> None:
        """After the rules are what `now` says: be on its interfaces, and drop what is foreign. On
        those in `vlans` VLANs stand."""
        self.notes = {}
        if now.cluster.xdp is Xdp.OFF:
            self.off(own_links, now.cluster)
            forget()
            return
        self._drops = stage.foreign(now.owners, now.drains, now.host)
        for gone in self._held.keys() - {link.index for link in own_links.values()}:
            self._held.pop(gone).close()
        for nic in now.nics:
            link = own_links[nic.interface]
            try:
                why = self._settle(link, nic, now.cluster, tagged=link.name in vlans)
            except KernelError as error:
                why = f"{error}{f'; {error.fix}' if error.fix else ''}"
                _note(link.index, (), why)
                with suppress(KernelError):
                    if (found := _ours(link.index, _noted())) is not None:
                        self._off(link.index, found)
            if why:
                self.notes[nic.interface] = _none(nic.interface, why)

    @contextmanager
    def moving(self, drops: frozenset[int]) -> Iterator[None]:
        """Drop these once what is done meanwhile is done: what comes is let through before, what
        goes is dropped after. If it fails, what both have is dropped."""
        self._drop(self._drops & drops)
        yield
        self._drop(drops)

    def news(self) -> list[str]:
        """Return the notes that were not returned yet."""
        said, self._said = self._said, dict(self.notes)
        return [note for interface, note in self.notes.items() if said.get(interface) != note]

    def is_right(self) -> bool:
        """Tell whether what this process holds drops what it is to drop: as long as nobody else
        changes it. Where it runs, a glance at the interfaces tells."""
        try:
            return all(
                list(one.drops()) == stage.words(self._drops, one.buckets)
                for one in self._held.values()
            )
        except KernelError:
            return False

    def seen(self, applied: Applied, links: Mapping[str, Link]) -> dict[str, StageFacts]:
        """Return what stands on interfaces, by their names; {} where there is and was to be none.
        What is held can be read without more rights."""
        found = self._look(applied, {name: link.index for name, link in links.items()})
        for name, one in found.items():
            if one.where and not one.ours:
                self.notes[name] = _none(name, _another(one.number, one.where))
        return found

    def glance(self, applied: Applied) -> dict[str, StageFacts]:
        """Return the same of a host's interfaces, from any thread; of a program that is replaced
        meanwhile nothing but where it is."""
        indexes = {nic.interface: libc.index_of(nic.interface) for nic in applied.nics}
        return self._look(applied, {name: index for name, index in indexes.items() if index})

    def _look(self, applied: Applied, indexes: Mapping[str, int]) -> dict[str, StageFacts]:
        noted = _noted()
        if applied.cluster.xdp is Xdp.OFF and not noted.numbers:
            return {}
        try:
            return {name: self._seen(index, noted) for name, index in indexes.items()}
        except KernelError as error:  # no libbpf
            return {name: StageFacts(refused=str(error)) for name in indexes}

    def off(self, own_links: Mapping[str, Link], cluster: Cluster) -> None:
        """Take it off these interfaces."""
        noted = _noted()
        for link in own_links.values():
            if (found := _left(link.index, cluster, noted)) is not None:
                self._off(link.index, found)

    def _seen(self, index: int, noted: _Noted) -> StageFacts:
        found, held = xdp.attached(index), self._held.get(index)
        if found is None:
            return StageFacts(refused=noted.refused.get(index, ""))
        ours = found.number in noted.numbers.get(index, ())
        if held and held.number == found.number:
            return self._read_held(index, held, found)
        old = noted.versions.get(index) != xdp.version()
        program = Program.of(found.number)
        if program is None:
            return StageFacts(where=found.where, number=found.number, ours=ours, old=ours and old)
        try:
            return replace(_read(program, found), old=old)
        finally:
            program.close()

    def _read_held(self, index: int, held: Program, found: Attached) -> StageFacts:
        """Read what is held, which another thread may replace meanwhile, and close."""
        try:
            facts = _read(held, found)
        except KernelError:
            if self._held.get(index) is held:
                raise
        else:
            if self._held.get(index) is held:
                return facts
        return StageFacts(where=found.where, number=found.number, ours=True)

    def _settle(self, link: Link, nic: Nic, cluster: Cluster, *, tagged: bool) -> str:
        """Bring it onto an interface; return why it is not there."""
        found, noted = xdp.attached(link.index), _noted()
        ours = _ours(link.index, noted)
        if why := stage.unfit(cluster, tagged=tagged):
            if ours:
                self._off(link.index, ours)
            return why
        if found and not ours:
            return _another(found.number, found.where)
        where = Where.GENERIC if cluster.xdp is Xdp.GENERIC else Where.NATIVE
        if ours and ours.where is not where:
            self._off(link.index, ours)
            ours = None
        self._put(link.index, nic, cluster, where, ours)
        return ""

    def _put(
        self, index: int, nic: Nic, cluster: Cluster, where: Where, ours: Attached | None
    ) -> None:
        """Have a program on an interface that drops what is to be dropped: the one that is held
        there, or a new one in the place of `ours`, or of nothing."""
        held, told = self._held.get(index), stage.told(cluster, nic)
        words = stage.words(self._drops, cluster.buckets)
        if held and ours and held.number == ours.number and held.told() == told:
            held.drop(words)
            return
        fresh = Program.load(told, cluster.buckets)
        try:
            fresh.drop(words)
            _note(index, (*([ours.number] if ours else []), fresh.number))
            xdp.attach(index, fresh, where, fresh=ours is None)
        except KernelError:
            fresh.close()
            raise
        _note(index, (fresh.number,), version=xdp.version())
        if held:
            held.close()
        self._held[index] = fresh

    def _off(self, index: int, found: Attached) -> None:
        xdp.detach(index, found.where)
        held = self._held.pop(index, None)
        if held:
            held.close()

    def _drop(self, drops: frozenset[int]) -> None:
        if drops != self._drops:
            for one in self._held.values():
                one.drop(stage.words(drops, one.buckets))
        self._drops = drops


def _none(interface: str, why: str) -> str:
    return f"no XDP stage on {interface}: {why}"


def _another(number: int, where: str) -> str:
    return f"another XDP program is on it, number {number}, {where}"


def _read(program: Program, found: Attached) -> StageFacts:
    return StageFacts(
        where=found.where,
        number=found.number,
        ours=True,
        told=program.told(),
        words=program.drops(),
        dropped=tuple(program.dropped()),
    )


def other(index: int) -> Attached | None:
    """Return the program on an interface if it is another's."""
    return None if _ours(index, _noted()) else xdp.attached(index)


def forget() -> None:
    """Remove what was noted: nothing of ours is on any interface."""
    path_of(_SUFFIX).unlink(missing_ok=True)


def _ours(index: int, noted: _Noted) -> Attached | None:
    """Return the program on an interface if it is ours."""
    found = xdp.attached(index)
    if found is None or found.number in noted.numbers.get(index, ()):
        return found
    program = Program.of(found.number)
    if program is None:
        return None
    program.close()
    return found


def _left(index: int, cluster: Cluster, noted: _Noted) -> Attached | None:
    """Return the program on an interface if it is ours, as far as there can be one."""
    known = bool(noted.numbers.get(index))
    if not known and cluster.xdp is Xdp.OFF:
        return None
    try:
        return _ours(index, noted)
    except KernelError:
        if known:
            raise
        return None  # no libbpf, and never was


def _noted() -> _Noted:
    try:
        known = json.loads(kept.read(path_of(_SUFFIX)))
        return _Noted(
            {int(i): tuple(map(int, several)) for i, several in known["numbers"].items()},
            *({int(i): str(said) for i, said in known[k].items()} for k in ("versions", "refused")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _Noted({}, {}, {})


def _note(index: int, numbers: tuple[int, ...], refused: str = "", version: str = "") -> None:
    """Note of an interface what is given, and keep its numbers and version where they are not."""
    noted = _noted()
    known = {
        "numbers": {**noted.numbers, index: numbers or noted.numbers.get(index, ())},
        "versions": {**noted.versions, index: version or noted.versions.get(index, "")},
        "refused": {**noted.refused, index: refused},
    }
    try:
        kept.replace(path_of(_SUFFIX), json.dumps(known))
    except OSError as error:
        raise KernelError(f"{path_of(_SUFFIX)} can't be written: {error.strerror}") from error
