"""Does this network bring frames for the listen MAC to every host? One asks, the others listen.

Rule 1: what was heard is told by who heard it; a verdict is a function of that alone.
Rule 2: a MAC that nobody has is asked for as well: a network that floods it, but not the listen
        MAC, believes to know where the latter is.
"""

import enum
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from vipnft.model import Mode

ETHERTYPE = 0x88B5
"""IEEE Std 802, "local experimental"."""
_MARK = "vipnft-probe"


class Kind(enum.StrEnum):
    """What a frame is for: to the listen MAC, or to nobody's; to all, to ask what they heard; or
    the answer to that; or an agent's call, by which the others hear that frames arrive."""

    LISTEN = "listen"
    CONTROL = "control"
    END = "end"
    HEARD = "heard"
    CALL = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a frame says; `run` tells one probe from another, and only an answer has counts.

    `nonces`: that of its kind, in a frame that is to be heard; in an answer those that were heard.
    """

    kind: Kind
    cluster: str
    host: str
    run: str
    listen: int = 0
    control: int = 0
    nonces: Mapping[Kind, str] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Return it as a frame's body, its length in front: frames are padded."""
        text = json.dumps({"mark": _MARK, **asdict(self)}).encode()
        return len(text).to_bytes(2, "big") + text

    @classmethod
    def load(cls, body: bytes) -> "Message | None":
        """Read what `dump` wrote; None for anything else."""
        try:
            found = json.loads(body[2 : 2 + int.from_bytes(body[:2], "big")])
            if found.pop("mark") != _MARK:
                return None
            return cls(
                kind=Kind(found["kind"]),
                cluster=str(found["cluster"]),
                host=str(found["host"])[:64],
                run=str(found["run"])[:64],
                listen=int(found["listen"]),
                control=int(found["control"]),
                nonces={Kind(kind): str(one)[:64] for kind, one in found["nonces"].items()},
            )
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return None


def believed(
    answers: Iterable[Message], nonces: Mapping[Kind, str], hosts: Collection[str]
) -> dict[str, Message]:
    """Return, of the answers in the name of these hosts, each one's that claims most, without
    those that claim what they don't prove: whoever is on the segment can send an answer."""
    found: dict[str, Message] = {}
    for one in answers:
        claims = {Kind.LISTEN: one.listen, Kind.CONTROL: one.control}
        proven = all(
            count == 0 or (count > 0 and one.nonces.get(kind) == nonces[kind])
            for kind, count in claims.items()
        )
        former = found.get(one.host)
        more = former is None or (one.listen, one.control) > (former.listen, former.control)
        if one.host in hosts and proven and more:
            found[one.host] = one
    return found


def control_mac(mode: Mode, run: str) -> str:
    """Return a MAC that nobody has: locally administered, of a run's first three bytes."""
    first = {Mode.MULTICAST: "03:bf:ff", Mode.IGMP: "01:00:5e"}.get(mode, "02:bf:ff")
    tail = bytes.fromhex(run[:6])
    if mode is Mode.IGMP:
        tail = bytes([tail[0] & 0x7F, *tail[1:]])
    return f"{first}:{tail.hex(':')}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the network does; `good`: every host answered, and gets every frame."""

    good: bool
    what: str
    fix: str = ""


_LISTEN = "run `vipnft probe --listen` on the other hosts"
_LEARNED = (
    "something sends from the listen MAC: a host in hub mode, a hypervisor that announces it when"
    " a machine moves, a program that writes raw frames; end that, and clear the switch's entry"
)


def verdict(
    sent: int, heard: Mapping[str, Message], me: str, mode: Mode, mute: Collection[str] = ()
) -> Verdict:
    """Tell what it means that each of these hosts heard so much of `sent` frames of each kind,
    and that the hosts in `mute` did not answer."""
    if not heard:
        return Verdict(
            False,
            "no host answered: none listens, or not even broadcasts get there",
            _LISTEN,
        )
    got = sorted(host for host, one in heard.items() if one.listen)
    deaf = sorted(host for host, one in heard.items() if not one.listen)
    flooded = sorted(host for host, one in heard.items() if one.control)
    lossy = sorted(host for host, one in heard.items() if 0 < one.listen < sent)
    if not deaf and not lossy:
        what = "every host that answered receives what is sent to the listen MAC"
        return Verdict(not mute, what, f"{_LISTEN}: {_names(sorted(mute))}" if mute else "")
    if not deaf:
        return Verdict(
            False,
            f"{_names(lossy)} received only some of it: the network limits what it floods",
            "raise or turn off storm control for unknown unicast on these ports",
        )
    return Verdict(False, *_deaf(got, deaf, flooded, me, mode))


def _deaf(
    got: list[str], deaf: list[str], flooded: list[str], me: str, mode: Mode
) -> tuple[str, str]:
    """Return why some received nothing, and the fix."""
    if mode in {Mode.MULTICAST, Mode.IGMP}:
        return (
            f"{_names(deaf)} received none of it",
            "give the switch static entries for the listen MAC; for --igmp, see that the hosts"
            " listen with --igmp too, which joins the group, and that the switch has a querier and"
            " goes by MAC addresses (Linux bridges go by IP addresses)",
        )
    if got:
        return (
            f"the switch has learned the listen MAC at {_names(got)}: {_names(deaf)} received"
            " none of it",
            _LEARNED,
        )
    if flooded:
        return (
            "the switch has learned the listen MAC, at this host's own port"
            f" ({me}) or where none of these hosts is: nobody received it, but"
            f" {_names(flooded)} what is sent to a MAC that nobody has",
            _LEARNED,
        )
    return (
        "the network does not flood: nobody received the listen MAC's frames, nor those to a MAC"
        " that nobody has",
        "allow unknown unicast flooding (and, on hypervisors, promiscuous mode and MAC changes)"
        " for these ports; or --multicast with static entries",
    )


def _names(hosts: list[str]) -> str:
    return ", ".join(hosts)
