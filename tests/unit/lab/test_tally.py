"""Counting who asked and who answered, over frames made here."""

from vipnft.lab.frames import ACK, ARP_REPLY, ARP_REQUEST, RST, SYN, TCP, UDP, Arp, Frame, Tcp
from vipnft.lab.tally import Asked, Query, Tally

CLIENT, VIP, ROUTER = "10.64.0.1", "192.0.2.100", "192.0.2.254"
A, B, R = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:01:00:00"


def syn(port: int = 40000, number: int = 100) -> Frame:
    return Frame(
        outgoing=True, src_mac=R, dst_mac=A, ethertype=0x800, src=CLIENT, dst=VIP,
        protocol=TCP, sport=port, dport=80, tcp=Tcp(SYN, number),
    )  # fmt: skip


def answer(
    mac: str, number: int, *, to: int = 100, flags: int = SYN | ACK, port: int = 40000
) -> Frame:
    return Frame(
        outgoing=False, src_mac=mac, dst_mac=R, ethertype=0x800, src=VIP, dst=CLIENT,
        protocol=TCP, sport=80, dport=port, tcp=Tcp(flags, number, (to + 1) & 0xFFFFFFFF),
    )  # fmt: skip


def udp(sport: int, dport: int, src: str, dst: str, mac: str = R) -> Frame:
    return Frame(
        outgoing=False, src_mac=mac, dst_mac=A, ethertype=0x800, src=src, dst=dst,
        protocol=UDP, sport=sport, dport=dport,
    )  # fmt: skip


def arp(operation: int, sender: str, target: str, mac: str = A) -> Frame:
    said = Arp(operation, mac, sender, R, target)
    return Frame(outgoing=False, src_mac=mac, dst_mac=R, ethertype=0x806, arp=said)


def count(*frames: Frame) -> Tally:
    tally = Tally()
    for frame in frames:
        tally.add(frame)
    assert tally.frames == len(frames)
    return tally


def figures(tally: Tally) -> tuple[int, int, int, int]:
    return len(tally.syns), tally.syn_acks, len(tally.doubles), len(tally.unanswered)


def test_one_syn_one_answer() -> None:
    tally = count(syn(), answer(A, 5))
    assert figures(tally) == (1, 1, 0, 0)
    assert tally.syn_acks_by_mac() == {A: 1}


def test_nobody_answers() -> None:
    tally = count(syn(), syn())
    assert figures(tally) == (1, 0, 0, 1)
    assert list(tally.syns.values()) == [2]


def test_two_hosts_answer() -> None:
    assert figures(count(syn(), answer(A, 5), answer(B, 6))) == (1, 2, 1, 0)


def test_two_hosts_answer_from_one_mac_as_on_a_hub() -> None:
    assert figures(count(syn(), answer(A, 5), answer(A, 6))) == (1, 2, 1, 0)


def test_an_answer_said_twice_is_not_double() -> None:
    assert figures(count(syn(), answer(A, 5), answer(A, 5))) == (1, 2, 0, 0)


def test_a_port_used_again_is_another_attempt() -> None:
    again = (syn(number=900), answer(B, 6, to=900))
    assert figures(count(syn(), answer(A, 5), *again)) == (2, 2, 0, 0)


def test_sequence_numbers_wrap() -> None:
    last = 0xFFFFFFFF
    assert figures(count(syn(number=last), answer(A, 5, to=last))) == (1, 1, 0, 0)


def test_a_refusal_is_an_answer_and_beside_another_a_double() -> None:
    refusal = answer(A, 0, flags=RST | ACK)
    tally = count(syn(), refusal)
    assert figures(tally) == (1, 0, 0, 0)
    assert tally.refused == list(tally.syns)
    assert figures(count(syn(), refusal, answer(B, 5))) == (1, 1, 1, 0)
    assert figures(count(syn(), refusal, refusal)) == (1, 0, 1, 0)
    assert figures(count(syn(), syn(), refusal, refusal)) == (1, 0, 0, 0)


def test_a_reset_of_an_established_connection_is_no_answer() -> None:
    tally = count(syn(), answer(A, 5), answer(A, 6, to=500, flags=RST | ACK))
    assert figures(tally) == (1, 1, 0, 0)
    assert tally.refused == []


def test_arp_by_who_asks_for_whom() -> None:
    tally = count(
        arp(ARP_REQUEST, ROUTER, VIP, R),
        arp(ARP_REPLY, VIP, ROUTER),
        arp(ARP_REPLY, VIP, ROUTER, B),
    )
    assert tally.arp_requests == {Asked(ROUTER, VIP): 1}
    assert tally.arp_replies == {Asked(ROUTER, VIP): 2}
    assert tally.arp_macs[VIP] == {A: 1, B: 1}


def test_an_announcement_is_no_question() -> None:
    assert not count(arp(ARP_REQUEST, VIP, VIP)).arp_requests


def test_dns_by_client_and_port() -> None:
    tally = count(
        udp(5001, 53, CLIENT, VIP),
        udp(53, 5001, VIP, CLIENT, A),
        udp(5002, 53, CLIENT, VIP),
        udp(53, 5002, VIP, CLIENT, A),
        udp(53, 5002, VIP, CLIENT, B),
        udp(5003, 53, CLIENT, VIP),
        udp(5004, 123, CLIENT, VIP),
    )
    assert tally.queries.total() == 3
    assert tally.responses[Query(CLIENT, 5001, VIP)] == {A: 1}
    assert tally.double_responses == [Query(CLIENT, 5002, VIP)]
    assert tally.unanswered_queries == [Query(CLIENT, 5003, VIP)]


def test_asking_for_figures_changes_none() -> None:
    tally = count(syn(), syn(port=40001), answer(A, 5))
    assert figures(tally) == figures(tally) == (2, 1, 0, 1)
    assert tally.sources == {R: 2, A: 1}
