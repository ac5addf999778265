"""What IPv6 has that IPv4 has not: its neighbour discovery, extension headers, link-locals."""

import json
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from tests.netns.conftest import LabUp
from tests.netns.packets import IPV6, ROUTER, icmp6, send, solicitation
from tests.netns.support import HUB_AND_SWITCH, LISTEN, VIP6, apply_all, shell, until, which
from vipnft.lab.capture import Wire
from vipnft.lab.frames import ADVERT, SOLICIT
from vipnft.lab.lab import Lab
from vipnft.lab.plan import ROUTER6, host_mac
from vipnft.model import Mode
from vipnft.ruleset.ndp import mac

FIELDS = (
    "icmpv6.type", "icmpv6.checksum.status", "icmpv6.nd.ns.target_address",
    "icmpv6.nd.na.target_address", "icmpv6.opt.linkaddr", "ipv6.src", "ipv6.dst", "ipv6.hlim",
)  # fmt: skip
GOOD = "1"  # tshark's word for a right checksum


@contextmanager
def tshark(lab: Lab, where: Path) -> Iterator[list[dict[str, str]]]:
    """Let tshark read the router's port; what it says of ICMPv6 is there in the end."""
    found: list[dict[str, str]] = []
    output = where / "tshark"
    fields = [word for field in FIELDS for word in ("-e", field)]
    words = ["tshark", "-l", "-n", "-Q", "-i", "eth0", "-f", "icmp6", "-T", "fields", *fields]
    with output.open("w") as out:
        reader = lab.popen("router", words, stdout=out, stderr=subprocess.DEVNULL)

    def answered(asker: str) -> bool:
        """Ask, until tshark has seen the answer: then it has seen what came before, too."""
        send(lab, "router", solicitation(asker))
        return f"{VIP6}\t{asker}" in output.read_text()

    try:
        until(lambda: answered("2001:db8::fffe"), what="tshark")
        yield found
        until(lambda: answered("2001:db8::ffff"), what="tshark")
    finally:
        reader.terminate()
        reader.wait()
    lines = [line.split("\t") for line in output.read_text().splitlines()]
    found += [dict(zip(FIELDS, line, strict=True)) for line in lines]


def nonce(number: int) -> bytes:
    return b"\x0e\1" + number.to_bytes(6, "big")  # RFC 7527: a nonce's option


@pytest.mark.parametrize("mode", Mode)
def test_advertisements_have_right_checksums(lab_up: LabUp, tmp_path: Path, mode: Mode) -> None:
    """Of solicitations with no option, one, and two; to the group and to the VIP; and of the
    duplicate-address detection of somebody who wants the VIP for himself."""
    lab = lab_up(hosts=4, mode=mode)
    apply_all(lab)
    listen = lab.cluster.nics("web1")[0].listen_mac(mode)
    own = b"\1\1" + mac(ROUTER)
    forms: list[list[bytes]] = [[], [own], [own, nonce(7)]]
    askers = [f"2001:db8::3:{n:x}" for n in range(40)]
    frames = [
        solicitation(asker, to=to, listen=listen, options=options)
        for asker in askers
        for options in forms
        for to in ("", VIP6)
    ]
    with tshark(lab, tmp_path) as found:
        send(lab, "router", *frames)
        send(lab, "router", solicitation("::", options=[]), solicitation("::", options=[nonce(9)]))
        send(lab, "router", solicitation("::", options=[own]))  # RFC 4861, 7.1.1: to be ignored
    said = [one for one in found if one["icmpv6.type"] == str(ADVERT)]
    assert {one["icmpv6.checksum.status"] for one in said} == {GOOD}
    assert {one["icmpv6.nd.na.target_address"] for one in said if one["ipv6.src"] == VIP6} == {VIP6}
    # An option for each that was in the question; nft makes no packet longer.
    macs = Counter(one["icmpv6.opt.linkaddr"] for one in said if one["ipv6.dst"] in askers)
    assert macs == Counter({"": 80, listen: 80, f"{listen},{listen}": 80})
    assert {one["ipv6.hlim"] for one in said} == {"255"}
    for asker in askers:
        assert sum(one["ipv6.dst"] == asker for one in said) == len(forms) * 2
    objections = [one for one in said if one["ipv6.dst"] == "ff02::1"]
    assert len(objections) == 2, "one host objects, once to each of the two"


@pytest.mark.parametrize("where", ["lo", "eth0"])
def test_what_leaves_by_the_stack_says_the_listen_mac(
    lab_up: LabUp, tmp_path: Path, where: str
) -> None:
    """From the VIP on the loopback no host asks anybody; where somebody has put it on the
    interface as well, the stack's own questions and answers are mended."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    owner = which(lab, [str(ROUTER6)])[str(ROUTER6)]
    if where == "eth0":
        shell(lab, owner, f"ip addr add {VIP6}/128 dev eth0 nodad")
    with tshark(lab, tmp_path) as found:
        for _ in range(3):
            shell(lab, owner, f"ip -6 neigh flush dev eth0; ping -c1 -W5 -I {VIP6} {ROUTER6}")
            shell(lab, "router", f"ip -6 neigh flush dev eth0; ping -c1 -W5 {VIP6}")
    asked = [one for one in found if one["icmpv6.type"] == str(SOLICIT)]
    by_vip = [one["icmpv6.opt.linkaddr"] for one in asked if one["ipv6.src"] == VIP6]
    assert set(by_vip) == ({LISTEN} if where == "eth0" else set())
    said = [one for one in found if one["icmpv6.type"] == str(ADVERT) and one["ipv6.src"] == VIP6]
    assert {one["icmpv6.checksum.status"] for one in asked + said} == {GOOD}
    assert {one["icmpv6.opt.linkaddr"] for one in said} == {LISTEN}


@pytest.mark.parametrize("hops", [255, 64])
def test_solicitations_that_came_through_a_router_are_not_answered(
    lab_up: LabUp, hops: int
) -> None:
    """RFC 4861, 7.1.1: the hop limit tells who is on the link."""
    lab = lab_up(hosts=2)
    apply_all(lab)
    with Wire(lab, "router") as wire:
        send(lab, "router", solicitation("2001:db8::3:1", hops=hops))
        send(lab, "router", solicitation("2001:db8::3:2"))
        wire.until(lambda t: any(a.asker == "2001:db8::3:2" for a in t.adverts))
        shell(lab, "router", f"ping -c2 -i0.2 {VIP6}")
    answers = sum(n for a, n in wire.tally.adverts.items() if a.asker == "2001:db8::3:1")
    assert answers == (hops == 255)


def test_a_host_without_rules_is_silent(lab_up: LabUp) -> None:
    lab = lab_up(hosts=2)
    apply_all(lab)
    shell(lab, "router", f"ip neigh replace {VIP6} lladdr {LISTEN} dev eth0 nud permanent")
    shell(lab, "web2", "nft flush ruleset")
    askers = [f"2001:db8::3:{n:x}" for n in range(40)]
    owners = which(lab, askers)
    clients = [f"2001:db8:64::{n}" for n in range(1, 9)]
    of = which(lab, clients)
    with Wire(lab, "router") as wire:
        send(lab, "router", *map(solicitation, askers))
        for client in clients:
            patience = "-W10" if of[client] == "web1" else "-W1"
            said = lab.run("clients", ["ping", "-c1", patience, "-I", client, VIP6])
            assert (said.returncode == 0) == (of[client] == "web1")
        wire.until(lambda t: len(t.adverts) >= sum(h == "web1" for h in owners.values()))
    answered = {a.asker for a in wire.tally.adverts if a.target == VIP6} & set(askers)
    assert answered == {asker for asker, host in owners.items() if host == "web1"}


def echo(client: str, number: int, *extension: bytes) -> bytes:
    """Return an echo request to the VIP, perhaps behind extension headers."""
    packet = icmp6(client, VIP6, struct.pack("!BBHHH", 128, 0, 0, 7, number), hops=64)
    if not extension:
        return mac(LISTEN) + mac(ROUTER) + IPV6 + packet
    more = b"".join(extension)
    head = packet[:4] + struct.pack("!HB", len(more) + len(packet) - 40, 0) + packet[7:40]
    return mac(LISTEN) + mac(ROUTER) + IPV6 + head + more + packet[40:]


HOP_BY_HOP = bytes([58, 0, 5, 2, 0, 0, 1, 0])  # a router alert (RFC 2711), padded
DESTINATION = bytes([58, 0, 1, 4, 0, 0, 0, 0])
EXTENSIONS = {
    "none": (),
    "hop by hop": (HOP_BY_HOP,),
    "hop by hop, then for the destination": (bytes([60]) + HOP_BY_HOP[1:], DESTINATION),
}


@pytest.mark.parametrize("extension", EXTENSIONS.values(), ids=EXTENSIONS)
def test_extension_headers_change_nothing(lab_up: LabUp, extension: tuple[bytes, ...]) -> None:
    lab = lab_up(hosts=3)
    apply_all(lab)
    clients = [f"2001:db8:64::{n:x}" for n in range(1, 61)]
    owners = which(lab, clients)
    with Wire(lab, "router", keep=True) as wire:
        send(lab, "router", *(echo(c, n, *extension) for n, c in enumerate(clients)))

        def answers() -> list[tuple[str, str]]:
            return [(f.dst, f.src_mac) for f in list(wire.frames) if f.icmp.type == 129]

        until(lambda: len(answers()) >= len(clients), what="echo replies")
        shell(lab, "router", f"ping -c2 -i0.2 {VIP6}")
        macs = {f"web{n}": host_mac(n) for n in range(1, 4)}
        assert sorted(a for a in answers() if a[0] in owners) == sorted(
            (client, macs[host]) for client, host in owners.items()
        )


UNKNOWN = bytes([58, 0, 0x9E, 4, 0, 0, 0, 0])  # an option that is to be complained of if unknown


@pytest.mark.parametrize("kind", [0, 60], ids=["hop by hop", "for the destination"])
def test_nobody_complains_of_what_all_may_learn(lab_up: LabUp, kind: int) -> None:
    """An advertisement to the VIP is everybody's; with an option that none knows it is one's."""
    lab = lab_up(hosts=3)
    apply_all(lab)
    advert = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + ROUTER6.packed + b"\2\1" + mac(ROUTER)
    packet = icmp6(str(ROUTER6), VIP6, advert)
    head = packet[:4] + struct.pack("!HB", len(packet) - 32, kind) + packet[7:40]
    with Wire(lab, "router", keep=True) as wire:
        send(lab, "router", mac(LISTEN) + mac(ROUTER) + IPV6 + head + UNKNOWN + packet[40:])
        shell(lab, "router", f"ping -c2 -i0.2 {VIP6}")
    problems = [f for f in wire.frames if (f.protocol, f.icmp.type) == (58, 4)]
    assert len(problems) == 1


def test_a_switch_that_snoops_mld_knows_where_solicitations_go(lab_up: LabUp) -> None:
    """They go to a group; so hosts are members of it, as of their own addresses' groups."""
    lab = lab_up(hosts=2)
    shell(
        lab,
        "segment",
        "sysctl -qw net.ipv6.conf.br0.disable_ipv6=0; ip addr add fe80::99/64 dev br0 nodad;"
        "ip link set br0 type bridge mcast_snooping 1 mcast_querier 1"
        " mcast_query_response_interval 10 mcast_startup_query_interval 20",
    )
    apply_all(lab)
    group = r"ff02::1:ff00:100"

    def members() -> set[str]:
        return set(re.findall(rf"port (\w+) grp {group} ", shell(lab, "segment", "bridge mdb")))

    until(lambda: members() == {"web1", "web2"}, what="both to be members")
    shell(lab, "router", "ip neigh flush dev eth0")
    shell(lab, "router", f"ping -c1 -W5 {VIP6}")
    lab.run("web2", ["vipnft", "down"], check=True)
    until(lambda: members() == {"web1"}, what="web2 to leave")


@pytest.mark.parametrize("mode", HUB_AND_SWITCH)
def test_the_vip_is_nobodys_source_and_never_tentative(lab_up: LabUp, mode: Mode) -> None:
    lab = lab_up(hosts=2, mode=mode)
    with Wire(lab, "router") as wire:
        apply_all(lab)
        shell(lab, "router", f"ping -c2 -i0.2 {VIP6}")
    assert not [a for a in wire.tally.solicits if a.asker == "::" and a.target == VIP6]
    for number, host in enumerate(lab.hosts, 1):
        (entry,) = (
            info
            for link in json.loads(shell(lab, host, "ip -j -6 addr show dev lo"))
            for info in link["addr_info"]
            if info["local"] == VIP6
        )
        assert entry["deprecated"], "the kernel may choose it"
        assert entry["nodad"]
        assert "tentative" not in entry
        for target in ("2001:db8:64::1", str(ROUTER6), "2001:db8::1:9"):
            assert f"src 2001:db8::1:{number} " in shell(lab, host, f"ip -6 route get {target}")


def of_use(lab: Lab, host: str) -> bool:
    """Tell whether the kernel is through with a host's new addresses."""
    return not shell(lab, host, "ip -6 addr show dev eth0 tentative")


def test_hub_hosts_have_link_locals_of_their_own(lab_up: LabUp) -> None:
    """They have one MAC; what is made of it would be one address, too."""
    lab = lab_up(hosts=4, mode=Mode.HUB)
    apply_all(lab)
    found = {}
    for host in lab.hosts:
        until(partial(of_use, lab, host), what="addresses")
        text = shell(lab, host, "ip -6 addr show dev eth0 scope link")
        assert "dadfailed" not in text
        (found[host],) = re.findall(r"inet6 (fe80:\S+)/64", text)
    assert len(set(found.values())) == len(lab.hosts)
    assert not [a for a in found.values() if IPv6Address(a).packed[8:] == eui64(LISTEN)]
    for address in found.values():
        shell(lab, "router", f"ping -c1 -W5 {address}%eth0")


def eui64(text: str) -> bytes:
    """Return the interface identifier made of a MAC (RFC 4291, appendix A)."""
    raw = mac(text)
    return bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
