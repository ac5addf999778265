"""Health checks against real servers on loopback."""

import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.contract.certificates import Authority
from vipnft.agent.checks import Checks, probe
from vipnft.errors import UsageError
from vipnft.model import Check, CheckKind

HOME = "127.0.0.1"
Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def tcp_server(answer: Answer, host: str = HOME, port: int = 0) -> Iterator[int]:
    """Accept connections and let `answer` deal with each, in a thread."""
    with socket.create_server((host, port)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:  # close alone would leave it listening for as long as accept waits
            listening.shutdown(socket.SHUT_RDWR)


def says(text: str) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return answer


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drips(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


def drips_a_page(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drips(connection)


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ERROR = "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("answer", "more", "why"),
    [
        (says(OK), {}, ""),
        (says(OK), {"body": "ok"}, ""),
        (says(OK), {"body": "fine"}, "no 'fine' in the answer"),
        (says(ERROR), {}, "status 500, not 200"),
        (says(ERROR), {"status": 500}, ""),
        (says("SSH-2.0\r\n"), {}, "SSH-2.0"),
        (says(""), {}, "closed"),
        (silent, {}, "timed out"),
        (drips, {}, "timed out"),
        (drips_a_page, {}, "timed out"),
        (says(OK.replace("Length: 2", "Length: 9")), {}, "the page ends 7 bytes early"),
    ],
)
def test_http(answer: Answer, more: dict[str, Any], why: str) -> None:
    with tcp_server(answer) as port:
        began = time.monotonic()
        patience = 0.3 if why == "timed out" else 20
        found = probe(Check(kind=CheckKind.HTTP, port=port, timeout=patience, **more), [HOME])
    assert why in found
    assert bool(found) == bool(why)
    assert time.monotonic() - began < 60  # what drips would take twenty minutes


def tls(home: Path, answer: Answer, names: list[str | None]) -> Answer:
    """Have a server speak TLS, with a certificate that nobody trusts; note the names it is asked
    by."""
    authority = Authority(home, "nobody").create()
    authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem", home / "server.key")
    context.sni_callback = lambda _, name, __: names.append(name)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as one:
            answer(one)

    return secured


@pytest.mark.parametrize(("host", "header"), [("", HOME), ("www.example.com", "www.example.com")])
def test_https_asks_by_name(tmp_path: Path, host: str, header: str) -> None:
    asked: list[bytes] = []
    names: list[str | None] = []

    def page(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(OK.encode())

    with tcp_server(tls(tmp_path, page, names)) as port:
        check = Check(kind=CheckKind.HTTPS, port=port, timeout=20, name=host, body="ok")
        assert probe(check, [HOME]) == ""
        bad = probe(replace(check, status=404), [HOME])
    assert f"Host: {header}:{port}\r\n".encode() in asked[0]
    assert names[0] == (host or None)
    assert bad.endswith("status 200, not 404")


def test_https_ends_in_time_and_needs_tls(tmp_path: Path) -> None:
    check = Check(kind=CheckKind.HTTPS, timeout=0.3)
    for answer in (silent, drips, tls(tmp_path, drips, [])):
        with tcp_server(answer) as port:
            assert probe(replace(check, port=port), [HOME])
    with tcp_server(says("HTTP/1.0 200 OK\r\n\r\n")) as port:
        assert "ssl" in probe(replace(check, port=port, timeout=20), [HOME]).lower()


def test_tcp() -> None:
    with tcp_server(silent) as port:
        assert probe(Check(kind=CheckKind.TCP, port=port), [HOME]) == ""
    assert (
        probe(Check(kind=CheckKind.TCP, port=port), [HOME])
        == f"tcp {HOME}:{port}: connection refused"
    )


def test_every_vip_must_answer() -> None:
    with tcp_server(silent) as port:
        found = probe(Check(kind=CheckKind.TCP, port=port), [HOME, "127.0.0.2"])
    assert found == f"tcp 127.0.0.2:{port}: connection refused"


@pytest.mark.parametrize(
    ("rcode", "record", "why"),
    [
        (0, True, ""),
        (0, False, "no such record"),
        (2, False, "SERVFAIL"),
        (None, False, "timed out"),
    ],
)
def test_dns(rcode: int | None, record: bool, why: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOME, 0))

        def serve() -> None:
            with contextlib.suppress(OSError):
                data, client = server.recvfrom(4096)
                reply = dns.message.make_response(dns.message.from_wire(data))
                if record:
                    reply.answer.append(dns.rrset.from_text("a.test.", 1, "IN", "A", "192.0.2.1"))
                if rcode is not None:
                    reply.set_rcode(dns.rcode.Rcode(rcode))
                    server.sendto(reply.to_wire(), client)

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        patience = 0.5 if why == "timed out" else 20
        found = probe(Check(kind=CheckKind.DNS, port=port, name="a.test", timeout=patience), [HOME])
    assert why in found
    assert bool(found) == bool(why)


def test_exec(tmp_path: Path) -> None:
    def run(script: str) -> str:
        return probe(Check(kind=CheckKind.EXEC, command=("sh", "-c", script), timeout=1.0), [HOME])

    assert run('test "$VIPNFT_VIP" = 127.0.0.1') == ""
    assert run("exit 3").endswith("exit code 3")
    left = tmp_path / "pid"
    assert run(f"sleep 600 & echo $! > {left}; wait").endswith("still running after 1 s")
    until(lambda: gone(left))
    assert "no such file" in probe(Check(kind=CheckKind.EXEC, command=("/nowhere",)), [HOME])


def test_a_command_has_not_what_is_set_for_vipnft_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONNOUSERSITE", "OF_THE_UNIT"):
        monkeypatch.setenv(name, "1")
    script = 'test -z "$PYTHONPATH$PYTHONNOUSERSITE" && test "$OF_THE_UNIT" = 1'
    assert probe(Check(kind=CheckKind.EXEC, command=("sh", "-c", script)), [HOME]) == ""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_rise_and_fall(tmp_path: Path) -> None:
    """A script that counts its runs and does as the file of results says."""
    log, results = tmp_path / "log", tmp_path / "results"
    results.write_text("0" * 5 + "1" * 3 + "0" * 1 + "1" * 2 + "0" * 400)
    code = (
        f"import pathlib,sys; log = pathlib.Path({str(log)!r});"
        f" log.touch(); n = log.stat().st_size; log.open('a').write('x');"
        f" sys.exit(int(pathlib.Path({str(results)!r}).read_text()[n]))"
    )
    check = Check(
        kind=CheckKind.EXEC,
        command=(sys.executable, "-ISc", code),
        interval=0.1,
        timeout=5,
        rise=4,
        fall=3,
    )
    checks = Checks([check], [IPv4Address(HOME)])
    checks.start()
    try:
        until(checks.failing)
        assert log.stat().st_size >= 8, "three in a row"
        until(lambda: not checks.failing())
        assert log.stat().st_size >= 15, "four in a row, of which one row was broken"
    finally:
        checks.stop()


def test_the_first_result_counts() -> None:
    check = Check(kind=CheckKind.TCP, port=1, interval=60, timeout=1, fall=100)
    checks = Checks([check], [IPv4Address(HOME)])
    assert checks.failing() == ()
    checks.start()
    try:
        until(lambda: checks.failing() == (f"tcp {HOME}:1: connection refused",))
    finally:
        checks.stop()


def test_a_closed_dns_port_is_heard_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((HOME, 0))
        port = free.getsockname()[1]
    found = probe(Check(kind=CheckKind.DNS, port=port, name="a.test", timeout=30), [HOME])
    assert found == f"dns {HOME}:{port} a.test A: connection refused"


def test_a_name_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="can't ask for"):
        Checks([Check(kind=CheckKind.DNS, port=53, name="a..b")], [IPv4Address(HOME)])


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.message", None)
    monkeypatch.delitem(sys.modules, "vipnft.agent.dns_probe", raising=False)
    monkeypatch.delattr("vipnft.agent.dns_probe", raising=False)
    with pytest.raises(UsageError) as caught:
        Checks([Check(kind=CheckKind.DNS, port=53, name="a.test")], [IPv4Address(HOME)])
    assert "python3-dnspython" in caught.value.fix
    assert "pip install 'vipnft[dns]'" in caught.value.fix


def test_what_a_probe_raises_is_a_reason_and_not_the_end() -> None:
    check = Check(kind=CheckKind.EXEC, command=("true", "a\0b"), interval=0.1)
    checks = Checks([check], [IPv4Address(HOME)])
    checks.start()
    try:
        until(checks.failing)
        assert "null byte" in checks.failing()[0]
    finally:
        checks.stop()


def test_stop_kills_what_hangs(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid}.new; mv {pid}.new {pid}; wait"
    check = Check(kind=CheckKind.EXEC, command=("sh", "-c", script), interval=60, timeout=60)
    checks = Checks([check], [IPv4Address(HOME)])
    checks.start()
    until(pid.exists)
    began = time.monotonic()
    checks.stop()
    checks.stop()
    assert time.monotonic() - began < 5
    until(lambda: gone(pid))


@pytest.mark.parametrize("kind", [CheckKind.HTTP, CheckKind.HTTPS, CheckKind.DNS])
def test_stop_waits_for_no_service(kind: CheckKind) -> None:
    """An agent that begins anew has to be back before its lease ends."""
    asked = threading.Event()

    def hangs(connection: socket.socket) -> None:
        asked.set()
        silent(connection)

    with tcp_server(hangs) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((HOME, 0))
        deaf.settimeout(20)
        port = deaf.getsockname()[1] if kind is CheckKind.DNS else tcp
        check = Check(kind=kind, port=port, name="a.test", timeout=60)
        checks = Checks([check], [IPv4Address(HOME)])
        checks.start()
        assert deaf.recv(512) if kind is CheckKind.DNS else asked.wait(20)
        began = time.monotonic()
        checks.stop()
        assert time.monotonic() - began < 10


def gone(pid: Path) -> bool:
    """Tell whether the process that a file names has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return ") Z " in Path("/proc", pid.read_text().strip(), "stat").read_text()
    return True
