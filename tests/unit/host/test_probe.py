"""What is concluded from who heard what; the network itself: tests/netns/test_network.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnft.host.probe import Kind, Message, believed, control_mac, verdict
from vipnft.model import Mode, is_unicast_mac


def heard(**counts: tuple[int, int]) -> dict[str, Message]:
    return {
        host: Message(kind=Kind.HEARD, cluster="c", host=host, run="r", listen=a, control=b)
        for host, (a, b) in counts.items()
    }


@pytest.mark.parametrize(
    ("counts", "good", "named"),
    [
        ({}, False, "no host answered"),
        ({"b": (5, 5), "c": (5, 5)}, True, "every host"),
        ({"b": (5, 5), "c": (3, 2)}, False, "c received only some"),
        ({"b": (5, 5), "c": (0, 5)}, False, "learned the listen MAC at b: c received none"),
        ({"b": (0, 5), "c": (0, 5)}, False, "learned the listen MAC, at this host's own port (a)"),
        ({"b": (0, 0), "c": (0, 0)}, False, "does not flood"),
    ],
)
def test_verdicts(counts: dict[str, tuple[int, int]], good: bool, named: str) -> None:
    found = verdict(5, heard(**counts), "a", Mode.SWITCH)
    assert found.good is good
    assert named in found.what
    assert bool(found.fix) is not good


@pytest.mark.parametrize("mode", [Mode.MULTICAST, Mode.IGMP])
def test_a_group_is_not_learned_but_filtered(mode: Mode) -> None:
    found = verdict(5, heard(b=(5, 0), c=(0, 0)), "a", mode)
    assert "c received none" in found.what
    assert "--igmp" in found.fix


NONCES = {Kind.LISTEN: "one", Kind.CONTROL: "two"}


def said(host: str, listen: int, control: int, proofs: str = "") -> Message:
    """What a host says; `proofs` are "listen" and "control", each with its nonce."""
    pairs = dict(one.split("=") for one in proofs.split())
    nonces = {Kind(kind): nonce for kind, nonce in pairs.items()}
    return Message(
        kind=Kind.HEARD,
        cluster="c",
        host=host,
        run="r",
        listen=listen,
        control=control,
        nonces=nonces,
    )


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (said("b", 5, 5, "listen=one control=two"), True),
        (said("b", 5, 0, "listen=one"), True),
        (said("b", 0, 0), True),  # to have heard nothing can't be proven
        (said("b", 5, 5), False),
        (said("b", 5, 5, "listen=one"), False),
        (said("b", 5, 0, "listen=two"), False),
        (said("b", 0, 5, "control=one"), False),
        (said("b", -1, 0), False),
        (said("stranger", 5, 0, "listen=one"), False),
    ],
)
def test_who_claims_to_have_heard_proves_it(answer: Message, good: bool) -> None:
    assert (believed([answer], NONCES, ["b", "c"]) == {"b": answer}) is good


@pytest.mark.parametrize("first", [True, False])
def test_that_a_host_heard_nothing_gives_way_to_what_it_proves(first: bool) -> None:
    forged, right = said("b", 0, 0), said("b", 5, 5, "listen=one control=two")
    answers = [forged, right] if first else [right, forged]
    assert believed(answers, NONCES, ["b"]) == {"b": right}


def test_a_message_comes_back_from_a_padded_frame() -> None:
    nonces = {Kind.LISTEN: "0f"}
    message = Message(
        kind=Kind.LISTEN, cluster="dns", host="web1", run="0123", listen=3, nonces=nonces
    )
    assert Message.load(message.dump() + bytes(40)) == message


@given(st.binary(max_size=200))
def test_anything_else_is_no_message(body: bytes) -> None:
    assert Message.load(body) is None
    assert Message.load(len(body).to_bytes(2, "big") + body) is None


@pytest.mark.parametrize("mode", Mode)
@given(run=st.binary(min_size=8, max_size=8))
def test_the_control_mac_is_of_the_listen_macs_kind(mode: Mode, run: bytes) -> None:
    mac = control_mac(mode, run.hex())
    assert len(bytes.fromhex(mac.replace(":", ""))) == 6
    assert is_unicast_mac(mac) is (mode in {Mode.HUB, Mode.SWITCH})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1480,
        b'{"mark": "vipnft-probe", "listen": Infinity}',
        b'{"mark": "vipnft-probe"}',
        b'{"mark": "vipnft-probe", "kind": "?", "cluster": "c", "host": "h", "run": "r",'
        b' "listen": 0, "control": 0}',
        b'{"mark": "vipnft-probe", "kind": "end", "cluster": "c", "host": "h", "run": "r",'
        b' "listen": 0, "control": 0, "nonces": {"?": 1}}',
        b'{"mark": "vipnft-probe", "kind": "end", "cluster": "c", "host": "h", "run": "r",'
        b' "listen": 0, "control": 0, "nonces": []}',
        b"",
    ],
)
def test_what_is_no_message_of_ours_is_none(body: bytes) -> None:
    assert Message.load(len(body).to_bytes(2, "big") + body) is None


def test_a_host_that_is_mute_is_not_good() -> None:
    found = verdict(5, heard(b=(5, 5)), "a", Mode.SWITCH, ["c"])
    assert not found.good
    assert "run `vipnft probe --listen` on the other hosts: c" in found.fix
