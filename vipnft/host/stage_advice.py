"""What `check` finds of the XDP stage: where it can be, and what speaks against it.

Rule 1: nothing is attached: a driver may reset its link for that. What a kernel does not tell shows
        when it is applied.
Rule 2: the stage is no condition: what "auto" can't have is a warning, what was asked for by name a
        FAIL; neither keeps `apply` from serving by the rules alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vipnft.errors import KernelError
from vipnft.host import stage as on_interfaces
from vipnft.host.preflight import Finding, Grade
from vipnft.kernel import libc, link_glance, xdp
from vipnft.kernel.links import Link
from vipnft.kernel.xdp import Program
from vipnft.model import Cluster, Nic, Xdp
from vipnft.ruleset import stage

_GENERIC_ALONE = {"bridge", "vlan", "macvlan", "ipvlan", "vxlan", "team", "dummy"}
_OFF = 'xdp = "off"'
_SAYS = {
    "bond": "a bond runs it natively if the drivers of all its ports do",
    "virtio_net": "virtio_net runs it natively where the guest may turn its host's offloads off"
    " (QEMU: unless ctrl_guest_offloads=off)",
}


def findings(cluster: Cluster, there: Sequence[tuple[Nic, Link]]) -> Iterator[Finding]:
    """Yield what speaks for and against a stage on these interfaces."""
    if cluster.xdp is Xdp.OFF or not there:
        return
    try:
        if libc.capable(libc.CAP_BPF) or libc.capable(libc.CAP_SYS_ADMIN):
            Program.load(stage.told(cluster, there[0][0]), cluster.buckets).close()
            yield Finding(Grade.OK, "the kernel takes the XDP program")
        vlans = link_glance.tagged([link.name for _, link in there])
        for nic, link in there:
            yield from _interface(cluster, nic, link, tagged=link.name in vlans)
    except KernelError as error:
        yield _against(cluster, f"no XDP stage: {error}", error.fix or _OFF)


def _against(cluster: Cluster, what: str, fix: str) -> Finding:
    return Finding(Grade.WARN if cluster.xdp is Xdp.AUTO else Grade.FAIL, what, fix)


def _interface(cluster: Cluster, nic: Nic, link: Link, *, tagged: bool) -> Iterator[Finding]:
    none = f"no XDP stage on {link.name}"
    if why := stage.unfit(cluster, tagged=tagged):
        yield _against(cluster, f"{none}: {why}", _OFF)
        return
    if other := on_interfaces.other(link.index):
        what = f"{none}: another XDP program is there, number {other.number}, {other.where}"
        yield _against(cluster, what, f"{_OFF}, or take that one off (ip link)")
        return
    if cluster.xdp is not Xdp.GENERIC and link.kind in _GENERIC_ALONE:
        what = f"{none}: a {link.kind} runs no XDP program natively"
        yield _against(cluster, what, f'{_OFF}; "generic" works, and gains little')
        return
    if len(nic.v4) > stage.MOST or len(nic.v6) > stage.MOST:
        what = f"{link.name} has more than {stage.MOST} VIPs of a version: the XDP stage lets the"
        yield Finding(Grade.WARN, f"{what} packets to the others through, for the rules", _OFF)
    yield Finding(Grade.OK, _native(cluster, link))


def _native(cluster: Cluster, link: Link) -> str:
    if cluster.xdp is Xdp.GENERIC:
        return (
            f"the XDP stage is to be generic on {link.name}: any interface can, and it gains little"
        )
    name = driver(link)
    if known := _SAYS.get(name):
        return f"XDP stage on {link.name}: {known}; apply tells"
    if xdp.offered(link.index):
        return f"{link.name}'s driver {name} says that it runs XDP programs"
    return f"whether {link.name}'s driver {name} runs XDP programs shows after apply"


def driver(link: Link) -> str:
    """Return the name of an interface's driver, or the kind of a virtual one."""
    try:
        return (Path("/sys/class/net") / link.name / "device/driver").resolve(strict=True).name
    except OSError:
        return link.kind or "virtual"
