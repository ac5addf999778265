"""Frames, built here by hand, and what is read from them."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.lab.frames import ACK, ARP_REQUEST, ICMP, RST, SNAP_BYTES, SYN, TCP, UDP, Frame, parse

HOST, ROUTER = "02:00:00:00:00:01", "02:00:00:01:00:00"
CLIENT, VIP = "10.64.0.1", "192.0.2.100"


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(kind: int, rest: bytes, src: str = ROUTER, dst: str = HOST) -> bytes:
    return mac(dst) + mac(src) + struct.pack("!H", kind) + rest


def ipv4(protocol: int, rest: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, 0, 0, fragment, 64, protocol, 0)
    return head + socket.inet_aton(CLIENT) + socket.inet_aton(VIP) + options + rest


def tcp(flags: int, seq: int = 1, ack: int = 0) -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, 80, seq, ack, 0x50, flags, 512, 0, 0)


def read(data: bytes, *, outgoing: bool = False) -> Frame:
    frame = parse(data, outgoing=outgoing)
    assert frame is not None
    return frame


def test_macs_and_direction() -> None:
    frame = read(ethernet(0x88B5, b""), outgoing=True)
    assert (frame.src_mac, frame.dst_mac, frame.ethertype) == (ROUTER, HOST, 0x88B5)
    assert frame.outgoing
    assert not read(ethernet(0x88B5, b"")).outgoing


def test_arp() -> None:
    who = mac(HOST) + socket.inet_aton("192.0.2.1") + bytes(6) + socket.inet_aton(VIP)
    frame = read(ethernet(0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, ARP_REQUEST) + who))
    assert frame.arp == (ARP_REQUEST, HOST, "192.0.2.1", "00:00:00:00:00:00", VIP)
    assert frame.src == ""


def test_arp_of_other_networks_is_left_alone() -> None:
    assert read(ethernet(0x0806, struct.pack("!HHBBH", 6, 0x0800, 8, 4, 1) + bytes(20))).arp is None


@pytest.mark.parametrize("options", [b"", b"\1" * 40])
def test_tcp(options: bytes) -> None:
    frame = read(ethernet(0x0800, ipv4(TCP, tcp(SYN | ACK, 7, 9), options=options)))
    assert (frame.src, frame.dst, frame.protocol) == (CLIENT, VIP, TCP)
    assert (frame.sport, frame.dport, frame.tcp.seq, frame.tcp.ack) == (40000, 80, 7, 9)
    assert frame.tcp.flags == SYN | ACK


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        (SYN, (True, False, False)),
        (SYN | 0xC0, (True, False, False)),  # with ECN
        (SYN | ACK, (False, True, False)),
        (ACK, (False, False, False)),
        (RST, (False, False, True)),
        (RST | ACK, (False, False, True)),
        (SYN | RST, (False, False, True)),
    ],
)
def test_kinds_of_segment(flags: int, kinds: tuple[bool, bool, bool]) -> None:
    frame = read(ethernet(0x0800, ipv4(TCP, tcp(flags))))
    assert (frame.is_syn, frame.is_syn_ack, frame.is_rst) == kinds


def test_udp_and_icmp() -> None:
    frame = read(ethernet(0x0800, ipv4(UDP, struct.pack("!HHHH", 5000, 53, 8, 0))))
    assert (frame.protocol, frame.sport, frame.dport) == (UDP, 5000, 53)
    frame = read(ethernet(0x0800, ipv4(ICMP, bytes([3, 4, 0, 0]))))
    assert (frame.icmp.type, frame.icmp.code) == (3, 4)


def test_a_later_fragment_has_no_ports() -> None:
    frame = read(ethernet(0x0800, ipv4(UDP, struct.pack("!HH", 5000, 53), fragment=100)))
    assert (frame.protocol, frame.sport, frame.dport) == (UDP, 0, 0)
    first = ipv4(UDP, struct.pack("!HH", 5000, 53), fragment=0x2000)
    assert read(ethernet(0x0800, first)).dport == 53


def test_the_longest_header_fits_into_what_is_read() -> None:
    whole = ethernet(0x0800, ipv4(TCP, tcp(SYN), options=b"\1" * 40))
    assert len(whole) <= SNAP_BYTES


@given(st.binary(max_size=SNAP_BYTES))
def test_noise_is_no_error(data: bytes) -> None:
    assert (parse(data) is None) == (len(data) < 14)


@given(st.sampled_from([0x0800, 0x0806]), st.binary(max_size=SNAP_BYTES))
def test_noise_behind_a_known_ethertype_is_no_error(kind: int, rest: bytes) -> None:
    assert parse(ethernet(kind, rest)) is not None


@given(st.integers(0, 74))
def test_a_frame_cut_short_is_no_error(length: int) -> None:
    parse(ethernet(0x0800, ipv4(TCP, tcp(SYN), options=b"\1" * 20))[:length])
