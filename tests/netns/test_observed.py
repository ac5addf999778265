"""What can be seen of hosts from outside: the snapshot, on the real kernel."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.cast import Agents, bucket_of, clients_of, serving
from tests.netns.conftest import LabUp
from tests.netns.support import VIP, apply_all, configure, shell, until
from tests.netns.test_failover import even
from tests.schema import faults
from vipnft.config.writer import digest
from vipnft.kernel import clock
from vipnft.lab.lab import Lab
from vipnft.model import StoreLoss
from vipnft.observe import snapshot
from vipnft.observe.snapshot import SnapshotError

FILE = "/run/vipnft/status.json"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/status.schema.json").read_text(encoding="utf-8")
)


def seen(lab: Lab, host: str) -> dict[str, Any]:
    """Return a host's snapshot; empty if it is none any more, or not yet."""
    done = lab.run(host, ["cat", FILE])
    try:
        return snapshot.loaded(done.stdout.encode(), clock.boottime())
    except SnapshotError:
        return {}


def kinds(cast: Agents, host: str) -> list[str]:
    return [event["kind"] for event in seen(cast.lab, host).get("events", ())]


def test_a_snapshot_is_fresh_or_none(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast:
        even(cast)
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to say that it serves")
        found = seen(lab, "web1")
        assert not faults(found, SCHEMA, SCHEMA)
        assert found["cluster"]["hosts"]["web2"]["state"] == "serving"
        assert len(found["status"]["owned"]) == 128
        assert shell(lab, "web1", f"stat -c '%a %U' {FILE}") == "644 root\n"
        text = json.dumps(found)
        assert str(lab.cluster.seed) not in text
        assert f"{lab.cluster.seed:x}" not in text.lower()

        clients = clients_of(lab, found["status"]["owned"], 1)
        shell(lab, "clients", f"ping -c 5 -i 0.01 -I {clients[0]} {VIP}")
        until(lambda: seen(lab, "web1")["status"]["taken"]["packets"] >= 5, what="its load")

        cast.running["web2"].kill()
        until(lambda: "takeover" in kinds(cast, "web1"), what="the takeover to be an event")
        until(lambda: len(seen(lab, "web1")["status"]["owned"]) == 256, what="all to be web1's")
        until(
            lambda: seen(lab, "web1")["cluster"]["hosts"]["web2"]["state"] == "silent",
            what="web2 to be silent",
        )
        until(lambda: not seen(lab, "web2"), what="web2's snapshot to be none")

        cast.running["web1"].terminate()
        cast.running["web1"].wait()
        assert lab.run("web1", ["test", "-e", FILE]).returncode == 1
        shell(lab, "web2", "vipnft down")
        assert lab.run("web2", ["test", "-e", FILE]).returncode == 1


def test_a_host_that_does_not_serve_says_why(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=1)
    with serving(lab, tmp_path):
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to serve")
        shell(lab, "segment", "ip link set web1 down")
        until(lambda: seen(lab, "web1").get("why"), what="the reason")
        (why,) = seen(lab, "web1")["why"]
        assert why.startswith("can't serve: ")
        shell(lab, "segment", "ip link set web1 up")
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to serve again")


def test_it_says_that_the_store_is_away(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=1)
    configure(lab, agents=replace(lab.cluster.agents, on_store_loss=StoreLoss.FENCE))
    with serving(lab, tmp_path):
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to serve")
        assert seen(lab, "web1")["agent"]["promises"] is None
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as other:
            other.execute("begin exclusive")
            until(lambda: not seen(lab, "web1")["agent"]["store"]["up"], what="the store's absence")
            until(lambda: seen(lab, "web1")["agent"]["lease"]["left"] == 0, what="silence")
            assert any("no lease" in why for why in seen(lab, "web1")["why"])
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to serve again")
        assert seen(lab, "web1")["figures"]["store_requests"]["failed"]


def test_it_says_who_carries_a_host_without_the_store_and_who_does_not(
    lab_up: LabUp, tmp_path: Path
) -> None:
    lab = lab_up(hosts=2)

    def promises() -> dict[str, Any]:
        found: dict[str, Any] = seen(lab, "web1").get("agent", {}).get("promises", {})
        return found

    with serving(lab, tmp_path) as cast:
        even(cast)
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to serve")
        none = {"carried": False, "lacking": [], "unheard": []}
        until(lambda: promises() == none, what="web2 to be heard")
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as other:
            other.execute("begin exclusive")
            until(lambda: promises().get("carried"), what="web2's promises to carry web1")
            assert seen(lab, "web1")["ready"]
            until(lambda: "carried" in kinds(cast, "web1"), what="that to be an event")
            cast.running["web2"].kill()
            until(
                lambda: promises().get("lacking") == ["web2"], what="web2's promise to be lacking"
            )
            until(lambda: seen(lab, "web1")["agent"]["lease"]["left"] == 0, what="silence")
            until(lambda: promises().get("unheard") == ["web2"], what="nobody to answer its calls")
        until(lambda: len(seen(lab, "web1")["status"]["owned"]) == 256, what="all to be web1's")


def test_a_host_without_an_agent_is_seen(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    command = shell(lab, "web1", "command -v vipnft").strip()
    running = lab.popen("web1", [command, "snapshot"])
    try:
        apply_all(lab)
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to say that it serves")
        found = seen(lab, "web1")
        assert not faults(found, SCHEMA, SCHEMA)
        whole = lab.cluster
        assert found["config_sha256"] == digest(whole)
        assert len(found["status"]["owned"]) == 128
        clients = clients_of(lab, found["status"]["owned"], 1)
        shell(lab, "clients", f"ping -c 5 -i 0.01 -I {clients[0]} {VIP}")
        until(lambda: seen(lab, "web1")["status"]["taken"]["packets"] >= 5, what="its load")

        configure(lab, hosts=whole.hosts[:1])
        until(lambda: seen(lab, "web1")["status"]["note"], what="the file to be another")
        configure(lab, hosts=whole.hosts)
        until(lambda: not seen(lab, "web1")["status"]["note"], what="it to be the same again")
        shell(lab, "web1", "vipnft release 0 --to web2 --drain 1h")
        until(lambda: seen(lab, "web1")["status"]["moving"], what="bucket 0 to drain")
        assert seen(lab, "web1")["ready"]
        shell(lab, "web1", f"ip addr del {VIP}/32 dev lo")
        until(lambda: seen(lab, "web1")["why"], what="the difference to be seen")
        assert VIP in seen(lab, "web1")["status"]["drift"][0]
        shell(lab, "web1", "nft flush ruleset")
        until(lambda: seen(lab, "web1")["status"]["taken"]["packets"] == 0, what="no rules")
        assert not seen(lab, "web1")["ready"]
        shell(lab, "web1", "vipnft apply --switch")
        until(lambda: seen(lab, "web1").get("ready"), what="web1 to be mended")
        told = [one["kind"] for one in seen(lab, "web1")["events"]]
        assert told == ["applied", "gave", "applied"]
        shell(lab, "web1", "vipnft down")
        until(lambda: not seen(lab, "web1"), what="no snapshot of nothing")

        with serving(lab, tmp_path, hosts=("web1",)):
            until(lambda: seen(lab, "web1").get("agent"), what="the agent's to stay")
            running.terminate()
            assert running.wait() == 0
            assert seen(lab, "web1")["agent"]
    finally:
        running.kill()
        running.wait()


@contextlib.contextmanager
def shown(lab: Lab, host: str) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Have `vipnft serve` run on a host as nobody; give what asks it there."""
    command = shell(lab, host, "command -v vipnft").strip()
    running = lab.popen(host, [*NOBODY, command, "serve"], stdout=subprocess.PIPE)

    def ask(path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:9877{path}"
        said = lab.run(host, ["curl", "-sg", "-w", "\n%{http_code}", url]).stdout
        body, _, status = said.rpartition("\n")
        return int(status), body

    try:
        until(lambda: ask("/livez")[0] == 200, what="serve to answer")
        yield ask
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("local", ["127.0.0.1", "[::1]"])
def test_systemd_hands_it_a_socket(lab_up: LabUp, local: str) -> None:
    """As vipnft-serve.socket does; by what names it answers then."""
    lab = lab_up(hosts=1)
    where = f"{local}:9877"
    words = [sys.executable, "-Pm", "vipnft.serve", "Web1.example"]
    null = subprocess.DEVNULL
    listen = ["systemd-socket-activate", "-l", where]
    with lab.popen("web1", [*listen, *words], stdout=null, stderr=null) as running:

        def ask(name: str) -> str:
            said = ["curl", "-sgo", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {name}"]
            return lab.run("web1", [*said, f"http://{where}/livez"]).stdout

        until(lambda: ask(where) == "200", what="the first answer")
        for name in ("web1.example:80", "localhost", lab.run("web1", ["hostname"]).stdout.strip()):
            assert ask(name) == "200", name
        assert ask("web2.example") == "421"
        running.kill()
    alone = lab.run("web1", words)
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "fix: vipnft serve" in alone.stderr


def test_anybody_sees_what_is_wrong(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=2)
    with serving(lab, tmp_path) as cast, shown(lab, "web1") as ask:
        even(cast)
        until(lambda: ask("/readyz") == (200, "ok\n"), what="web1 to be ready")
        assert 'vipnft_buckets{state="owned"} 128' in ask("/metrics")[1]
        clients = clients_of(lab, list(range(256)), 20)
        for client in clients:
            said = json.loads(ask(f"/api/v1/which?client={client}")[1])
            owner = json.loads(ask("/api/v1/status")[1])["status"]["owners"][bucket_of(lab, client)]
            assert said["owners"] == [{"services": "", "host": owner, "by_port": False}]
        assert ask("/api/v1/which?client=nobody")[0] == 400
        assert ask("/")[0] == 200
        cast.running["web1"].kill()
        until(lambda: ask("/readyz")[0] == 503, what="what is old to be none")
        assert "old" in ask("/readyz")[1]
        assert ask("/metrics")[1].count("\nvipnft_") == 1
        assert ask("/api/v1/which?client=192.0.2.7")[0] == 503


def test_the_plugin_says_how_bad_it_is(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=1)

    def plugin() -> tuple[int, str]:
        done = lab.run("web1", ["vipnft", "status", "--check"])
        return done.returncode, done.stdout

    assert plugin() == (2, "VIPNFT CRITICAL - nothing is applied here\n")
    with serving(lab, tmp_path) as cast:
        until(lambda: plugin()[0] == 0, what="web1 to be well")
        assert plugin()[1].startswith("VIPNFT OK - web1 serves 256 of 256 buckets | owned=256;;;0;")
        closed = "/run/vipnft/closed.toml"  # as the documents say
        shell(lab, "web1", f"install -m 600 {lab.config} {closed}")
        mine = [
            *NOBODY,
            shell(lab, "web1", "command -v vipnft").strip(),
            "status",
            "--config",
            closed,
        ]
        assert lab.run("web1", [*mine, "--check"]).returncode == 0
        said = lab.run("web1", [*mine, "--cluster"]).stderr
        assert f"{closed}: can't be read: Permission denied; run it as root" in said
        cast.running["web1"].kill()
        until(lambda: plugin()[0] == 3, what="its snapshot to be old")
    shell(lab, "web1", "vipnft down")
    shell(lab, "web1", "vipnft apply --switch")
    code, line = plugin()
    assert (code, line[:10]) == (0, "VIPNFT OK "), line
    shell(lab, "web1", f"ip addr del {VIP}/32 dev lo")
    code, line = plugin()
    assert code == 2
    assert "differs from what was applied" in line
