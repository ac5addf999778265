"""Neighbour discovery (RFC 4861) for IPv6 VIPs, by rules alone.

Rule 1: the stack never answers a solicitation of a VIP, which stands on the loopback: the
        owner's rules turn it into its advertisement, so that a host without rules is silent.
Rule 2: checksums stay right. All of an advertisement is constant but for where it goes. Its
        checksum is written as if it went where the solicitation came to; then nft sets the
        destination, which is the one write whose difference the kernel brings into a checksum.
Rule 3: what leaves by the stack with a VIP as its source says the listen MAC: the difference
        of the two MACs goes into 16 reserved bits, so that the sum stays what it was.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

from vipnft.model import Mode, Nic
from vipnft.ruleset.nftjson import IIF, Stmt, assign, fwd, match, payload, raw

SOLICIT, ADVERTISE = 135, 136  # RFC 4861, 4.3 and 4.4
_SOLICITED, _OVERRIDE = 0x40000000, 0x20000000
_SOURCE_OPTION, _TARGET_OPTION = 0x0101, 0x0201  # type, and length in units of 8 bytes
_ALL_NODES, _UNSPECIFIED = IPv6Address("ff02::1"), IPv6Address("::")
_NONCE = 14  # RFC 7527, 4.1; from nobody, the only option that may be (RFC 4861, 7.1.1)
_ADVERT_BYTES = 64  # of the packet, without options
_OPTIONS = range(3)  # so many in a solicitation: its MAC, a nonce


def solicited_node(vip: IPv6Address) -> IPv6Address:
    """Return the group to which solicitations of an address go (RFC 4291, 2.7.1)."""
    return IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + vip.packed[13:])


def groups(nic: Nic, mode: Mode) -> tuple[str, ...]:
    """Return the multicast groups that an interface joins: those that solicitations go to, which
    a NIC filters and a switch may snoop; and in IGMP mode the one whose MAC is listened to."""
    solicited = dict.fromkeys(str(solicited_node(vip)) for vip in nic.v6)
    return (*([str(nic.group)] if mode is Mode.IGMP else []), *solicited)


def group_mac(group: IPv6Address) -> str:
    """Return the MAC of a group (RFC 2464, 7)."""
    return "33:33:" + group.packed[12:].hex(":")


def mac(text: str) -> bytes:
    """Return a MAC's six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def as_number(text: str) -> int:
    """Return a MAC as a raw match has it."""
    return int.from_bytes(mac(text), "big")


def about(vip: IPv6Address) -> list[Stmt]:
    """Return what a solicitation of this address looks like."""
    words = _words(vip)
    target = [match(raw("th", 64 + 32 * i, 32), word) for i, word in enumerate(words)]
    return [match(payload("icmpv6", "type"), "nd-neighbor-solicit"), *target]


def advertisements(vip: IPv6Address, listen: str, send: str) -> Iterator[list[Stmt]]:
    """Yield the rules that turn a solicitation of `vip` into its advertisement and send it back.

    A rule for each form: to the group or to the VIP itself, from somebody or (somebody who wants
    the address for himself, RFC 4862) from nobody, with as many options as may be.
    """
    for options in _OPTIONS:
        for to in (solicited_node(vip), vip):
            yield [*_form(vip, to, options), *_answer(vip, listen, send, to, options)]
    for options in _OPTIONS[:2]:
        yield [*_form(vip, None, options), *_objection(vip, listen, send, options)]


def _form(vip: IPv6Address, to: IPv6Address | None, options: int) -> list[Stmt]:
    nobody = match(payload("ip6", "saddr"), str(_UNSPECIFIED), "!=" if to else "==")
    where = [match(payload("ip6", "daddr"), str(to))] if to else []
    nonce = [] if to or not options else [match(raw("th", 24 * 8, 8), _NONCE)]
    length = match(payload("ip6", "length"), 24 + 8 * options)
    return [nobody, *where, length, *about(vip)[1:], *nonce]


def _answer(
    vip: IPv6Address, listen: str, send: str, to: IPv6Address, options: int
) -> Iterator[Stmt]:
    yield assign(payload("ether", "daddr"), payload("ether", "saddr"))
    yield from _advertisement(vip, to, listen, _SOLICITED | _OVERRIDE, options)
    yield assign(payload("ip6", "daddr"), payload("ip6", "saddr"))
    yield from _leave(vip, send)


def _objection(vip: IPv6Address, listen: str, send: str, options: int) -> Iterator[Stmt]:
    yield assign(payload("ether", "daddr"), group_mac(_ALL_NODES))
    yield from _advertisement(vip, _ALL_NODES, listen, _OVERRIDE, options)
    yield from _write(24 * 8, _ALL_NODES)
    yield from _leave(vip, send)


def _advertisement(
    vip: IPv6Address, to: IPv6Address, listen: str, flags: int, options: int
) -> Iterator[Stmt]:
    """Write an advertisement over a solicitation, with the checksum of one from `vip` to `to`."""
    own = as_number(listen)
    body = advertisement(vip, to, listen, flags, options)
    yield assign(raw("th", 0, 32), int.from_bytes(body[:4], "big"))
    yield assign(raw("th", 32, 32), flags)
    for number in range(options):
        at = 192 + 64 * number
        yield assign(raw("th", at, 16), _TARGET_OPTION)
        yield assign(raw("th", at + 16, 48), own)


def _leave(vip: IPv6Address, send: str) -> Iterator[Stmt]:
    yield from _write(8 * 8, vip)
    yield assign(payload("ether", "saddr"), send)
    yield fwd(IIF)


def _write(at: int, address: IPv6Address) -> Iterator[Stmt]:
    """Write an address into the IPv6 header, and leave the checksum alone."""
    for i, word in enumerate(_words(address)):
        yield assign(raw("nh", at + 32 * i, 32), word)


def _words(address: IPv6Address) -> tuple[int, ...]:
    return struct.unpack("!4I", address.packed)


def advertisement(
    vip: IPv6Address, to: IPv6Address, listen: str, flags: int = _OVERRIDE, options: int = 1
) -> bytes:
    """Return an advertisement's ICMPv6 message, from `vip` to `to`, with its checksum."""
    option = struct.pack("!H", _TARGET_OPTION) + mac(listen)
    body = struct.pack("!BBHI", ADVERTISE, 0, 0, flags) + vip.packed + option * options
    return _summed(vip, to, body)


def solicitation(vip: IPv6Address, source: IPv6Address, own: str) -> bytes:
    """Return the ICMPv6 message that asks for `vip`, from an address whose MAC is `own`."""
    option = struct.pack("!H", _SOURCE_OPTION) + mac(own)
    body = struct.pack("!BBHI", SOLICIT, 0, 0, 0) + vip.packed + option
    return _summed(source, solicited_node(vip), body)


def packet(source: IPv6Address, to: IPv6Address, message: bytes) -> bytes:
    """Return the IPv6 packet of a message to neighbours."""
    return (
        struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source.packed + to.packed + message
    )


def advertised(packet: bytes) -> tuple[IPv6Address, str] | None:
    """Return of an advertisement the address, and the MAC that its option says ("": none does);
    None if it is none, or was sent from beyond the segment."""
    if len(packet) < _ADVERT_BYTES or packet[6:8] != b"\x3a\xff" or packet[40] != ADVERTISE:
        return None
    target, options = IPv6Address(packet[48:64]), packet[64:]
    while len(options) >= 8 and options[1]:
        if int.from_bytes(options[:2], "big") == _TARGET_OPTION:
            return target, options[2:8].hex(":")
        options = options[8 * options[1] :]
    return target, ""


def _summed(source: IPv6Address, to: IPv6Address, body: bytes) -> bytes:
    """Return an ICMPv6 message with its checksum."""
    pseudo = source.packed + to.packed + struct.pack("!II", len(body), 58)
    return body[:2] + struct.pack("!H", ~_sum(pseudo + body) & 0xFFFF) + body[4:]


def own(vip_set: object, worn: str, listen: str) -> Iterator[list[Stmt]]:
    """Yield the rules that give this host's own messages from a VIP the listen MAC (rule 3)."""
    old, new = mac(worn), mac(listen)
    difference = (_sum(old) - _sum(new)) % 0xFFFF
    for kind, option in (("solicit", _SOURCE_OPTION), ("advert", _TARGET_OPTION)):
        yield [
            match(payload("ip6", "saddr"), vip_set),
            match(payload("icmpv6", "type"), f"nd-neighbor-{kind}"),
            match(raw("th", 192, 16), option),
            match(raw("th", 208, 48), int.from_bytes(old, "big")),
            assign(raw("th", 208, 48), int.from_bytes(new, "big")),
            assign(raw("th", 48, 16), difference),
        ]


def _sum(data: bytes) -> int:
    """Return the one's complement sum of 16-bit words (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
