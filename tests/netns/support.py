"""What the tests on the real kernel share."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vipnft.config.writer import render
from vipnft.lab.lab import Lab
from vipnft.model import Mode

PROGRAMS = Path(__file__).parent / "programs"
LISTEN = "02:bf:c0:00:02:64"
VIP, VIP6 = "192.0.2.100", "2001:db8::100"
HUB_AND_SWITCH = (Mode.HUB, Mode.SWITCH)
PACE = float(os.environ.get("VIPNFT_TESTS_PACE", "1"))
"""How many times longer agents' times are here: an emulated machine gives it."""
FLOOD = "" if PACE == 1 else "--rate 1000000pps"
"""trafgen's words for as fast as can be: with a rate it has no ring, which a slow machine can't
flush in time (EAGAIN; that ends it)."""


def sampled(cases: Iterable[object], *always: object) -> list[Any]:
    """Return parameters, of which all but some are asked by `make long` alone."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[] if case in always else [pytest.mark.long],
        )
        for case in cases
    ]


def until(condition: Callable[[], object], *, seconds: float = 300, what: str = "") -> None:
    """Wait for a condition; fail loudly, far beyond the usual time."""
    began = before = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < began + seconds, f"still waiting for {what or condition}"
        # To look takes the CPU from what is waited for: half of the time, at most.
        time.sleep(max(0.02, now - before))
        before = time.monotonic()


def configure(lab: Lab, **changes: Any) -> None:
    """Write the lab's cluster file anew, with other values of Cluster."""
    lab.config.write_text(render(replace(lab.cluster, **changes)))


def paced(lab: Lab) -> None:
    """Give the lab's agents times that this machine can keep."""
    if PACE != 1:
        agents = lab.cluster.agents
        configure(lab, agents=replace(agents, lease=agents.lease * PACE, beat=agents.beat * PACE))


def apply(lab: Lab, host: str, mode: Mode) -> None:
    lab.run(host, ["vipnft", "apply", f"--{mode}"], check=True)


def apply_all(lab: Lab) -> None:
    for host in lab.hosts:
        apply(lab, host, lab.mode)


def shell(lab: Lab, node: str, script: str) -> str:
    """Return what a shell says; a command of vipnft's and nothing else is spared its start."""
    alone = re.fullmatch(r"vipnft [\w .:,/=-]+", script)
    return lab.run(node, script.split() if alone else ["sh", "-c", script], check=True).stdout


# Everything that `apply` could have changed, less counters and remaining lifetimes; once the kernel
# is through with new IPv6 addresses, which it joins to their groups in its own time. Whether a new
# interface has a carrier it finds out in its own time, too: that is left out.
SNAPSHOT = r"""
for _ in $(seq 100); do ip -6 addr show up tentative | grep -q inet6 || break; sleep 0.02; done
{ ip -d link; ip addr | grep -v valid_lft; } |
    sed -E 's/ state [A-Z]+//; s/NO-CARRIER,|,LOWER_UP//; s/ fdb_n_learned [0-9]+//'
ip route show table all; ip -6 route show table all
ip rule; ip -6 rule; bridge fdb; ip maddr; ip -6 neigh show proxy
nft -s list ruleset | sed -E 's/ timeout [0-9dhms]+//g'
sysctl -a 2>/dev/null | grep -E '^net\.(ipv4|ipv6|netfilter|bridge)' |
    grep -vE 'nf_conntrack_count|fib_multipath_hash_seed|tcp_fastopen_key|stable_secret'
ls /run/vipnft 2>/dev/null | grep -vE 'lock|agent|events' || true
"""


def snapshot(lab: Lab, host: str) -> list[str]:
    return shell(lab, host, SNAPSHOT).splitlines()


def asked(
    lab: Lab, program: str, clients: Sequence[str], vip: str = VIP, *more: str
) -> dict[str, str]:
    """Let clients ask the VIP, each from its own address (`address|port`: from that port too),
    and return who answered each."""
    words = [sys.executable, str(PROGRAMS / program), vip, *more]
    said = lab.run("clients", words, input=",".join(clients), check=True, timeout=120).stdout
    found: dict[str, str] = json.loads(said)
    return found


def which(lab: Lab, clients: Sequence[str], service: str = "") -> dict[str, str]:
    """Return who is to answer each client, by `vipnft which`; for a service that is dealt in its
    own way, such as udp/53, if it is given."""
    words = dict(zip(clients, map(_spelled, clients), strict=True))
    said = lab.run(
        "router", ["vipnft", "which"], input="\n".join(words.values()), check=True
    ).stdout
    lines = map(str.split, said.splitlines())
    found = {line[0]: line[2] for line in lines if not (service or line[3:]) or service in line[3:]}
    return {client: found[word] for client, word in words.items()}


def _spelled(client: str) -> str:
    address, bar, port = client.partition("|")
    if not bar:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def plug_in(lab: Lab, host: str, interface: str, port: str, bridge: str = "br0") -> None:
    """Make a new veth pair between a host and the segment; the kernel picks index and MAC."""
    there, segment = _network(lab, host), _network(lab, "segment")
    pair = ["ip", "link", "add", interface, "type", "veth", "peer", port, "netns", segment]
    subprocess.run(["nsenter", f"--net={there}", *pair], check=True)
    learning = "on" if lab.mode is Mode.SWITCH else "off"
    shell(
        lab,
        "segment",
        f"ip link set {port} master {bridge}; bridge link set dev {port} learning {learning};"
        f"ip link set {port} up",
    )
    shell(lab, host, f"ip link set {interface} up")


def _network(lab: Lab, node: str) -> str:
    """Return the path of a node's network namespace, as seen from outside."""
    words = lab.command(node, ["true"])
    return next(w for w in words if w.startswith("--net=")).removeprefix("--net=")


@contextmanager
def nginx(
    lab: Lab, host: str, where: Path, *, size: int = 0, content: bytes = b"", more: str = ""
) -> Iterator[None]:
    """Serve the host's name at / with a real nginx, on port 80, and at /big `content` or `size`
    zeros; `more` are directives for all of HTTP."""
    home = where / f"nginx-{host}"
    (home / "www").mkdir(parents=True)
    (home / "www/index.html").write_text(host)
    (home / "www/big").write_bytes(content or bytes(size))
    (home / "nginx.conf").write_text(
        f"""
        daemon off; user root; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
        events {{ worker_connections 4096; }}
        http {{
            access_log {home}/access.log;
            client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/fcgi; uwsgi_temp_path {home}/uwsgi;
            scgi_temp_path {home}/scgi;
            keepalive_requests 100000; send_timeout 600s; {more}
            server {{
                listen 80 backlog=4096 sndbuf=16k; listen [::]:80 backlog=4096 sndbuf=16k;
                root {home}/www;
            }}
        }}
        """
    )
    with _server(lab, host, ["nginx", "-c", f"{home}/nginx.conf"], "80/tcp"):
        yield


@contextmanager
def nsd(lab: Lab, host: str, where: Path) -> Iterator[None]:
    """Answer name.test TXT with the host's name with a real NSD, on port 53."""
    home = where / f"nsd-{host}"
    home.mkdir()
    (home / "zone").write_text(
        f"$ORIGIN test.\n@ 60 SOA ns.test. me.test. 1 60 60 60 60\n@ 60 NS ns.test.\n"
        f'ns 60 A {VIP}\nname 60 TXT "{host}"\n'
    )
    (home / "nsd.conf").write_text(
        f"""
server:
  ip-address: {VIP}
  ip-address: {VIP6}
  ip-transparent: yes
  username: ""
  chroot: ""
  database: ""
  pidfile: {home}/pid
  xfrdfile: {home}/xfrd
  zonelistfile: {home}/zonelist
  zonesdir: {home}
  xfrdir: {home}
  logfile: {home}/log
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: test
  zonefile: {home}/zone
"""
    )
    with _server(lab, host, ["nsd", "-d", "-c", f"{home}/nsd.conf"], "53/udp"):
        yield


Server = Callable[[Lab, str, Path], AbstractContextManager[None]]


@contextmanager
def on_hosts(lab: Lab, where: Path, *servers: Server) -> Iterator[None]:
    """Run servers, such as nginx, on every host of a lab."""
    with ExitStack() as stack:
        for host in lab.hosts:
            for server in servers:
                stack.enter_context(server(lab, host, where))
        yield


@contextmanager
def _server(lab: Lab, host: str, command: list[str], port: str) -> Iterator[None]:
    number, protocol = port.split("/")
    flag = {"tcp": "-ltnH", "udp": "-lunH"}[protocol]
    server = lab.popen(host, command, stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: lab.run(host, ["ss", flag, f"sport = :{number}"]).stdout,
            what=f"{command[0]} on {host}",
        )
        yield
    finally:
        server.kill()
        server.wait()


@contextmanager
def guest(lab: Lab, host: str, addresses: Sequence[str]) -> Iterator[list[str]]:
    """Have a network namespace at a host, by its interface `guests`; give the words that run a
    command there."""
    words = ["unshare", "-n", "sh", "-c", "echo $$; read end"]
    inside = lab.popen(host, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert inside.stdout
    pid = inside.stdout.readline().strip()
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    shell(lab, host, f"ip link add guests type veth peer out netns {pid}; ip link set guests up")
    given = "; ".join(f"ip addr add {address}/24 dev out" for address in addresses)
    lab.run(host, [*enter, "sh", "-c", f"ip link set out up; {given}"], check=True)
    try:
        yield enter
    finally:
        inside.communicate("\n")


ASK_TCP = """
import socket, sys
vip, *clients = sys.argv[1:]
for client in clients:
    with socket.socket() as one:
        one.bind((client, 0))
        one.settimeout(30)
        one.connect((vip, 80))
        one.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(one.recv(4096).split()[-1].decode(), flush=True)
"""

STRAY = (
    "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0));"
    f" s.send(bytes.fromhex('ffffffffffff' + '{LISTEN}'.replace(':', '') + '88b6') + bytes(50))"
)
"""A program that sends one frame from the listen MAC, by its eth0."""
