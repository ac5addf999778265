"""Each reader of what others write, with good inputs to begin from."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from tests.fuzz import seen
from tests.fuzz.alone import BUCKETS, HOSTS, One
from tests.golden import EXAMPLES
from tests.samples import LISTEN, OWN, small
from vipnft.agent.answers import Answers
from vipnft.agreement.datagrams import LONGEST, Datagram, Kind
from vipnft.agreement.loads import Load, Spending
from vipnft.agreement.promises import Ground
from vipnft.agreement.records import (
    TABLE,
    AgreementError,
    Contact,
    Member,
    Order,
    Standing,
    Table,
    members,
    order,
    patience,
    require_legible,
    strangers,
)
from vipnft.cli import events
from vipnft.config import reader
from vipnft.config.writer import render
from vipnft.errors import ConfigError, KernelError, UsageError, VipnftError
from vipnft.host import duplicate, event_file, probe, record
from vipnft.host.probe import Kind as Frame
from vipnft.host.probe import Message
from vipnft.model import EVERY_MAC, Applied, Entry, InterfaceRecord, Mode, Nic
from vipnft.observe.events import Event, Place, document
from vipnft.store.contract import StoreError
from vipnft.store.etcd import EtcdStore
from vipnft.store.etcd_connection import Reply
from vipnft.store.etcd_member import Lost, Missed, Refused, understood
from vipnft.store.opening import open_store

LONGEST_S = patience(60.0)
SECRET = "SECRET"


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads bytes, and good ones; `feed` raises whatever is no error of ours, or
    AssertionError for what it must not believe. `share`: how often it is tried."""

    feed: Callable[[bytes], None]
    seeds: Sequence[bytes]
    share: int = 10


def fault(read: Callable[[], object], ours: type[VipnftError]) -> str:
    """Return what an error of ours says, with its fix; "" without one."""
    try:
        read()
    except ours as error:
        return f"{error}{error.fix}"
    return ""


def _cluster(value: bytes) -> None:
    text = value.decode("utf-8", errors="ignore")
    why = fault(lambda: reader.parse(text, "f"), ConfigError)
    assert why.replace("\n", "").isprintable()
    if not why:
        found = reader.parse(text, "f")
        assert reader.parse(render(found), "f") == found


def _snapshot(value: bytes) -> None:
    entry = Entry(value, 3)
    snapshot = {"host/a": entry, "order/a": entry, TABLE: entry, value.decode("latin-1"): entry}
    for member in members(snapshot).values():
        assert patience(member.lease) <= LONGEST_S
    order(snapshot, "a")
    strangers(snapshot, HOSTS)
    assert fault(lambda: require_legible(snapshot, "", BUCKETS), AgreementError).isprintable()


def _life(value: bytes) -> None:
    """An agent serves again, alone, after whatever was in the keys that it did not write."""
    one = One(beat=0.4)
    for key in ("host/a", "host/b", "host/evil", "order/a"):
        one.put(key, value)
    drained = order(one.store, "a")
    one.run(2 * LONGEST_S + 5)
    assert one.serves() or drained.weight == 0, "waits past the longest lease"


_A, _B = "a1" * 16, "b2" * 16
_QUESTION = Datagram(
    kind=Kind.QUESTION, sender="a", receiver="b", counter=7, nonce=b"12345678", version=3, part="c"
)
_SEEDS = [
    *(replace(_QUESTION, kind=kind).sealed(_A, _B) for kind in Kind),
    replace(_QUESTION, kind=Kind.KNOCK).sealed("", _B),
]
_CONTACTS = {"a": Contact(("::1",), 1, _A)}


def _datagram(value: bytes) -> None:
    """Nothing that the asker did not say is promised, noted or answered at length."""
    b = Answers("b", _B, lambda: 1.0)
    ground = Ground(willing=True, contacts=_CONTACTS)
    b.stand(ground)
    said = Datagram.load(value)
    if said is None:
        return
    assert len(value) <= LONGEST
    answer = b.answer(said, value)
    assert answer is None or len(answer) <= len(value)
    assert (answer is None) or value in _SEEDS, "answered what nobody sealed"
    assert bool(b.stand(ground)) == (answer is not None and said.kind is Kind.QUESTION)


def _record(value: bytes) -> None:
    with suppress(KernelError):
        found = record.parsed(value, Path("f"))
        for key, one in found.sysctls.items():
            assert ".." not in key
            assert key.startswith("net/ipv")
            assert one.removeprefix("-").isdecimal()


def _frame(value: bytes) -> None:
    for body in (value, len(value).to_bytes(3, "big")[1:] + value):
        if message := Message.load(body):
            probe.believed([message], dict.fromkeys(Frame, "n"), HOSTS)
            str(message)
    nic = Nic(interface="eth0", vips=(ip_address("192.0.2.100"),), unicast_mac=LISTEN)
    list(duplicate._answers(value, nic))


def _url(value: bytes) -> None:
    url = value.decode("utf-8", errors="surrogateescape")
    why = fault(lambda: open_store(url, "dns").close(), UsageError)
    assert SECRET not in why or SECRET in url.rpartition("@")[2], why


def _answer(value: bytes) -> None:
    store = EtcdStore(list, "dns", "etcd://h")
    for status in (200, 400, 500):
        with suppress(Missed, Lost, Refused, StoreError):
            try:
                found = understood(Reply(status, "Bad Request", value))
            except Exception as error:
                if type(error).__name__ != "_WantsToken":
                    raise
                continue
            store._read(found, time.monotonic())


_MEMBER = Member("a1b2", 7, 1.0, 2, Standing.SERVING, False, 9)
_TABLE = Table(("a", "b", "?x.1", "b"), {1: frozenset({"a"})})
_APPLIED = Applied(
    cluster=small(buckets=4),
    host="web1",
    mode=Mode.SWITCH,
    owners=("web1", "web2", "", "web1"),
    worn={
        "eth0": InterfaceRecord(index=7, mac=OWN, filters=(LISTEN, EVERY_MAC), groups=("ff02::1",))
    },
    sysctls={"net/ipv4/conf/eth0/arp_ignore": "0"},
    addresses=("192.0.2.100",),
    drains={1: {"web1": 12.5}},
    leased=True,
)
_LOAD = replace(Load.of(60.0, 9, {1: 80.0}, 0.5), spent=Spending(0.5, 80.0, 0.01))
_OTHER = Member("c3", 7, 60.0, 1000, Standing.STOPPING, True, 9, carries=_LOAD)
_KEYS = [_MEMBER.dump(), _OTHER.dump(), _TABLE.dump(), Order(3, True).dump()]


def _kv(key: str, value: bytes) -> dict[str, str]:
    words = (f"/vipnft/dns/{key}".encode(), value)
    key64, value64 = (b64encode(word).decode() for word in words)
    return {"key": key64, "value": value64, "mod_revision": "7"}


_ANSWERS = [
    {
        "header": {"cluster_id": "1", "revision": "7"},
        "succeeded": True,
        "responses": [
            {
                "response_range": {
                    "kvs": [_kv(".epoch", b"123456"), _kv("table", b"{}")],
                    "count": "2",
                }
            },
        ],
    },
    {"error": "etcdserver: mvcc: database space exceeded", "code": 8},
    {"error": "etcdserver: invalid auth token", "code": 16},
    {"message": "etcdserver: user name is empty", "code": 3},
]
_MESSAGE = Message(
    kind=Frame.HEARD, cluster="dns", host="a", run="ab12", listen=3, nonces={Frame.LISTEN: "n"}
)
_URLS = (
    f"etcd://u:{SECRET}@h1:2379,h2", f"etcd://u:{SECRET}@h?ca=/no/such&cert=/a&key=/b",
    f"etcd:/u:{SECRET}@h", f"etcd://u:{SECRET}?x@h", f"etcd://u:{SECRET}@h1,u:{SECRET}@h2",
    f"//u:{SECRET}@h", f"sqlite://u:{SECRET}@h/x", "sqlite:///var/lib/x.db", "etcd://[::1]:2379",
)  # fmt: skip


def _event(value: bytes) -> None:
    if event := event_file.read(value):
        events.line(event)


_EVENT = document(Event(7, 1.7e9, "takeover", "took over from b: x"), Place("dns", "a"))

READERS = {
    "cluster file": Reader(_cluster, [example.read_bytes() for example in EXAMPLES], 5),
    "store's keys": Reader(_snapshot, _KEYS, 35),
    "an agent's life": Reader(_life, _KEYS, 1),
    "promises": Reader(_datagram, _SEEDS, 15),
    "record": Reader(_record, [json.dumps(record.document(_APPLIED)).encode()], 5),
    "probe's frames": Reader(_frame, [_MESSAGE.dump()[2:]], 15),
    "events": Reader(_event, [json.dumps(_EVENT).encode()], 5),
    "URL": Reader(_url, [url.encode() for url in _URLS], 15),
    "requests": Reader(seen.request, seen.REQUESTS, 15),
    "the snapshot": Reader(seen.snapshots, seen.SNAPSHOTS, 5),
    "lines of the log": Reader(seen.line, seen.LINES, 10),
    "etcd's answers": Reader(_answer, [json.dumps(one).encode() for one in _ANSWERS], 19),
}
