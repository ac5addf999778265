"""What `vipnft store-setup` prints runs real members, and --check tells how these are."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.contract.etcd_server import eventually
from vipnft.cli.main import main
from vipnft.errors import UsageError
from vipnft.store.etcd_setup import configuration, election_ms, examined
from vipnft.store.etcd_url import parsed
from vipnft.store.opening import open_store

HOSTS = [f"127.{os.getpid() >> 8 & 127 | 128}.{os.getpid() & 255}.{n}" for n in (1, 2, 3)]
URL = f"etcd://{','.join(HOSTS)}"


def settings(text: str) -> dict[str, str]:
    """Read an environment file."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip('"') for key, _, value in pairs}


class Trio:
    """Members that run as configured, but for where their data lies."""

    def __init__(self, home: Path, lease: float) -> None:
        self.home, self.files = home, configuration(parsed(URL), "dns", lease)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        etcd = shutil.which("etcd")
        assert etcd
        for host, text in self.files.items():
            environment = settings(text) | {"ETCD_DATA_DIR": str(self.home / host)}
            with (self.home / f"{host}.log").open("wb") as log:
                self.processes[host] = subprocess.Popen(
                    [etcd], env=environment, stdout=log, stderr=log
                )
        for host in self.files:
            eventually(partial(self.well, host), 60)

    @staticmethod
    def well(host: str) -> bool:
        with urllib.request.urlopen(f"http://{host}:2379/health", timeout=5) as answer:
            return bool(json.load(answer)["health"] == "true")

    def kill(self, *hosts: str) -> None:
        for host in hosts or list(self.processes):
            process = self.processes.pop(host)
            process.kill()
            process.wait()


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    one = Trio(tmp_path, 1.0)
    try:
        one.start()
        yield one
    finally:
        one.kill()


@pytest.mark.etcd
def test_members_run_as_configured(
    trio: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(URL, "dns")
    assert store.transact({"key": 0}, {"key": b"value"}, timeout=5).done
    store.close()
    assert all(verdict.good for verdict in examined(parsed(URL)))

    file = tmp_path / "cluster.toml"
    file.write_text(
        f'[cluster]\nname = "dns"\nseed = 1\nvips = ["192.0.2.100"]\ninterface = "eth0"\n'
        f'store = "{URL}"\n[[host]]\nname = "a"\n[[host]]\nname = "b"\n'
    )
    monkeypatch.setattr("sys.argv", ["vipnft", "store-setup", HOSTS[1], "--config", str(file)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == trio.files[HOSTS[1]]

    trio.kill(HOSTS[0])
    both = (f"{host}:2379: etcd" for host in HOSTS[1:])
    words = [*both, "follow one leader"]

    def elected() -> bool:
        good = " ".join(one.what for one in examined(parsed(URL)) if one.good)
        return all(word in good for word in words)

    eventually(elected, 60)
    monkeypatch.setattr("sys.argv", ["vipnft", "store-setup", "--check", "--config", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert f"FAIL  {HOSTS[0]}:2379" in told
    assert f"ok    {HOSTS[1]}:2379" in told


@pytest.mark.parametrize(
    ("lease", "election"), [(0.2, 200), (0.3, 200), (1.0, 400), (5.0, 1000), (60.0, 1000)]
)
def test_an_election_ends_within_a_lease_where_etcd_can(lease: float, election: int) -> None:
    assert election_ms(lease) == election
    text = next(iter(configuration(parsed(URL), "dns", lease).values()))
    found = settings(text)
    assert int(found["ETCD_ELECTION_TIMEOUT"]) == election
    assert int(found["ETCD_HEARTBEAT_INTERVAL"]) * 10 == election  # etcd wants 5 at least


def test_members_of_one_host_are_refused() -> None:
    with pytest.raises(UsageError, match="share a host"):
        configuration(parsed("etcd://h:1,h:2,h:3"), "dns", 1.0)


def test_names_listen_everywhere_and_addresses_there() -> None:
    files = configuration(parsed("etcd://a,[2001:db8::1]:4000,192.0.2.1"), "dns", 1.0)
    listens = [settings(text)["ETCD_LISTEN_CLIENT_URLS"] for text in files.values()]
    assert listens == [
        "http://0.0.0.0:2379", "http://[2001:db8::1]:4000", "http://192.0.2.1:2379",
    ]  # fmt: skip


def test_two_members_are_told_of() -> None:
    verdicts = list(examined(parsed("etcd://127.0.0.1:1,127.0.0.1:2")))
    assert "2 members" in verdicts[0].what
    assert not any(verdict.good for verdict in verdicts)
