"""What the kernel refuses leaves vipnft/kernel/ as an error of ours, whatever was asked."""

import errno
import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from tests.unit.kernel import restricted
from vipnft.errors import KernelError
from vipnft.kernel.links import Link, Links

LINK = Link(
    index=4711,
    name="gone0",
    mac="02:00:00:00:00:01",
    up=True,
    carrier=True,
    loopback=False,
    master=None,
    promiscuity=0,
    kind="veth",
    one_mac=False,
)
ARGUMENTS = {
    "name": "gone0",
    "addresses": ip_address("192.0.2.1"),
    "address": ip_address("192.0.2.1"),
    "link": LINK,
    "bridge": replace(LINK, kind="bridge"),
    "index": LINK.index,
    "group": "239.255.2.1",
    "interfaces": ["gone0"],
    "vips": [ip_address("192.0.2.1")],
    "mac": "02:00:00:00:00:02",
}
ASKED = [name for name, _ in inspect.getmembers(Links, inspect.isfunction) if name[0] != "_"]
BY_HAND = {"carriers", "groups"}
"""They ask without pyroute2: of a refusal, test_netlink has it."""
GONE = """
import inspect, os, sys
sys.path.insert(0, os.getcwd())
from pyroute2 import IPRoute
from tests.unit.kernel.test_edges import ARGUMENTS, ASKED, arguments
from vipnft.errors import KernelError
from vipnft.kernel import libc
from vipnft.kernel.links import Links

root = libc.capable(libc.CAP_SYS_ADMIN)
libc.unshare(libc.CLONE_NEWNET if root else libc.CLONE_NEWNET | libc.CLONE_NEWUSER)
with IPRoute() as ip, Links() as links:
    ip.link("add", ifname="gone0", kind="veth", peer="gone1")
    ARGUMENTS["link"] = link = links.find("gone0")
    ARGUMENTS["index"] = link.index
    ip.link("del", index=link.index)
    for name in ASKED:
        call = getattr(links, name)
        try:
            print(name, call(*arguments(call)))
        except KernelError as error:
            print(name, error)
"""
SOCKETLESS = """
import resource
from ipaddress import ip_address
from vipnft.errors import KernelError, VipnftError
from vipnft.kernel import flows, links, scratch, sockets, watch
from vipnft.kernel.lease import Lease
"""
ASKING = """
vips = [ip_address("192.0.2.1")]
asked = {
    "flows": lambda: flows.answered(vips),
    "lease": Lease,
    "links": links.Links,
    "sockets": lambda: sockets.clients(vips),
    "stand-in": lambda: links.stand_in("one"),
    "watch": watch.Watch,
    "scratch": lambda: scratch.listing([], (), ["eth0"]),
}
for name, ask in asked.items():
    if name == "scratch":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    try:
        ask()
    except KernelError as error:
        print(name, "refused")
"""


def arguments(call: Callable[..., object]) -> list[Any]:
    """Return something for each parameter; text where the call takes it as text."""
    several = inspect.signature(call).parameters.values()
    return [
        str(ARGUMENTS[p.name]) if p.annotation in {str, "str"} else ARGUMENTS[p.name]
        for p in several
    ]


class Refusing:
    """A socket to a kernel that refuses everything."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., object]:
        def refuse(*_: object, **__: object) -> object:
            raise self._error

        return refuse


@pytest.mark.parametrize(
    "error", [NetlinkError(errno.EPERM), NetlinkError(-1), OSError(errno.EPERM, ""), OSError("no")]
)
@pytest.mark.parametrize("name", [name for name in ASKED if name not in BY_HAND])
def test_a_refusal_of_links(name: str, error: Exception) -> None:
    with Links() as links:
        links._ipr, kernel = Refusing(error), links._ipr
        call = getattr(links, name)
        with pytest.raises(KernelError):
            call(*arguments(call))
        links._ipr = kernel


def test_an_interface_that_went_between_two_calls() -> None:
    done = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ASKED
    assert "listen 02:00:00:00:00:02 could not be put into gone0's filter: No such device" in (
        done.stdout
    )


def test_sockets_that_are_not_to_be_had() -> None:
    said = restricted.run("AF_NETLINK", SOCKETLESS, ASKING)
    several = ["flows", "lease", "links", "sockets", "stand-in", "watch", "scratch"]
    assert said.splitlines() == [f"{name} refused" for name in several]
