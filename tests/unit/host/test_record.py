"""The record: read as it was written, and believed only what this program could have written.

An agent writes it from within its sandbox; root's `down` acts on it.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.samples import LISTEN, OWN, small
from vipnft.errors import KernelError
from vipnft.host import locks, record
from vipnft.model import EVERY_MAC, Applied, InterfaceRecord, Mode

APPLIED = Applied(
    cluster=small(buckets=4),
    host="web1",
    mode=Mode.SWITCH,
    owners=("web1", "web2", "", "web1"),
    worn={
        "eth0": InterfaceRecord(index=7, mac=OWN, filters=(LISTEN, EVERY_MAC), groups=("ff02::1",))
    },
    sysctls={"net/ipv4/conf/eth0/arp_ignore": "0"},
    addresses=("192.0.2.100", "192.0.2.101"),
    drains={1: {"web1": math.inf}},
    leased=True,
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "DIRECTORY", tmp_path)
    monkeypatch.setattr(record, "DIRECTORY", tmp_path)
    record.save(APPLIED)
    return locks.path_of(".json")


def test_it_is_read_as_it_was_written(file: Path) -> None:
    assert record.load() == APPLIED
    assert file.stat().st_mode & 0o777 == 0o600


def set_to(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = to

    return change


BAD = {
    "a file for a setting": set_to(
        "sysctls", to={"net/ipv4/conf/eth0/../../../../../etc/cron.d/x": "* * * * * root id"}
    ),
    "another setting": set_to("sysctls", to={"kernel/core_pattern": "1"}),
    "another interface's setting": set_to("sysctls", to={"net/ipv4/conf/eth1/arp_ignore": "0"}),
    "a value that is none": set_to("sysctls", "net/ipv4/conf/eth0/arp_ignore", to="|sh"),
    "an interface that is none": set_to(
        "worn", to={"../x": {"index": 1, "mac": OWN, "filters": [], "groups": []}}
    ),
    "an index that is none": set_to("worn", "eth0", "index", to=-1),
    "a MAC that is none": set_to("worn", "eth0", "mac", to="$(id)"),
    "a filter that is none": set_to("worn", "eth0", "filters", to=["all"]),
    "a group that is none": set_to("worn", "eth0", "groups", to=["192.0.2.1"]),
    "an address that is none": set_to("addresses", to=["lo"]),
    "a host that is none": set_to("host", to="web9"),
    "owners that are none": set_to("owners", to=["web1", 2, 3, 4]),
    "too few owners": set_to("owners", to=["web1"]),
    "owners with escapes": set_to("owners", to=["web1", "\x1b]0;x\x07", "web1", "web1"]),
    "an index that is no whole number": set_to("worn", "eth0", "index", to=1.5),
    "a group as a number": set_to("worn", "eth0", "groups", to=[0xE0000001]),
    "an address as a number": set_to("addresses", to=[0xC0000264]),
    "a drain without a time": set_to("drains", to={"1": {"web1": "soon"}}),
    "a drain of no number": set_to("drains", to={"1": {"web1": math.nan}}),
    "a drain beyond all numbers": set_to("drains", to={"1": {"web1": 10**400}}),
    "a drain of nobody": set_to("drains", to={"1": {"a\nb": 1}}),
    "a lease that is neither": set_to("leased", to="yes"),
    "a bucket that is none": set_to("drains", to={"4": {"web1": 1}}),
    "a format before": set_to("version", to=5),
}


@pytest.mark.parametrize("case", BAD)
def test_what_it_could_not_have_written_is_refused(file: Path, case: str) -> None:
    document = json.loads(file.read_text())
    BAD[case](document)
    file.write_text(json.dumps(document))
    with pytest.raises(KernelError) as caught:
        record.load()
    assert "by hand" in caught.value.fix


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(b"[" * 100_000)
    | st.tuples(
        st.sampled_from(
            [
                "cluster",
                "host",
                "mode",
                "owners",
                "worn",
                "sysctls",
                "addresses",
                "drains",
                "leased",
            ]
        ),
        JSON,
    )
)
def test_no_bytes_are_more_than_an_error(file: Path, value: bytes | tuple[str, Any]) -> None:
    record.save(APPLIED)
    if isinstance(value, tuple):
        value = json.dumps(json.loads(file.read_text()) | {value[0]: value[1]}).encode()
    file.write_bytes(value)
    try:
        found = record.load()
    except KernelError:
        return
    assert found is not None
    assert found.cluster.buckets == 4
