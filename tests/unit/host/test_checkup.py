"""What `check` says where something is lacking: each FAIL has a fix, none of which is `check`."""

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.samples import small
from vipnft.host import checkup
from vipnft.host.preflight import Grade
from vipnft.kernel import nft
from vipnft.model import Affinity, Mode, Protocol, Service
from vipnft.ruleset.tables import INET

PACKAGE = Path(checkup.__file__).parents[1]
CHECKING = """
import json
from dataclasses import asdict
from tests.samples import small
from vipnft.host import checkup
from vipnft.model import Service
services = (
    Service(protocol="tcp", ports=((80, 81),)),
    Service(protocol="udp", ports=((53, 53),)),
    Service(protocol="udp", ports=((443, 443),), quic=True),
    Service(protocol="sctp", ports=((7, 7),)),
)
cluster = small(vips=("192.0.2.100", "2001:db8::100"), services=services)
print(json.dumps([asdict(one) for one in checkup.machine(cluster, "web1")]))
"""
NO_PROTOCOLS = "mount --bind /dev/null /etc/protocols"
NO_NAMESPACES = "echo 0 > /proc/sys/user/max_net_namespaces"


def checked(surroundings: str) -> list[dict[str, str]]:
    """Return what `check` finds in a network of its own, where something was done before."""
    words = ["unshare", "--map-root-user", "--mount", "--net", "sh", "-ec"]
    script = f'{surroundings}; exec "$0" -c "$1"'
    done = subprocess.run(
        [*words, script, sys.executable, CHECKING], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("services", "tried"),
    [
        ((), 0),
        ((Service(protocol=Protocol.TCP, ports=((80, 80),), affinity=Affinity.SUBNET),), 0),
        ((Service(protocol=Protocol.TCP, ports=((80, 80),), affinity=Affinity.FLOW),), 1),
        ((Service(protocol=Protocol.UDP, ports=((443, 443),), quic=True),), 1),
    ],
)
def test_conntrack_is_tried_only_where_it_is_needed(
    services: tuple[Service, ...], tried: int
) -> None:
    """Where it is a module, to try it would load it."""
    cluster = replace(small(hosts=1), services=services)
    features = list(checkup._features("eth0", cluster))
    assert sum('"ct"' in json.dumps(commands) for *_, commands in features) == tried


@pytest.mark.parametrize("surroundings", ["true", NO_PROTOCOLS, NO_NAMESPACES])
def test_every_fail_has_a_fix(surroundings: str) -> None:
    found = checked(surroundings)
    assert [one["what"] for one in found if one["grade"] == "FAIL"]
    assert all(one["fix"] for one in found if one["grade"] != "ok")
    assert not [one for one in found if "vipnft check" in one["fix"]]


def test_where_nothing_can_be_tried_that_is_said_once() -> None:
    found = [one for one in checked(NO_NAMESPACES) if "scratch network namespace" in one["what"]]
    assert len(found) == 1
    assert found[0]["fix"].startswith("run it as root")


def test_a_ruleset_needs_no_names_of_protocols() -> None:
    taken = [one["what"] for one in checked(NO_PROTOCOLS) if one["grade"] == "ok"]
    for mode in Mode:
        assert f"the kernel takes the ruleset for --{mode}" in taken


def test_a_package_that_is_lacking_is_named() -> None:
    """Protocols' names are looked up in a file that minimal systems lack."""
    program = (
        "from vipnft.errors import KernelError\nfrom vipnft.kernel import nft\n"
        "from vipnft.ruleset.nftjson import DROP, L4PROTO, match\n"
        "from vipnft.ruleset.tables import INET\n"
        "chain = INET.chain('one', [match(L4PROTO, 'ipv6-icmp'), DROP])\n"
        "try:\n    nft.apply([*INET.fresh(), *chain])\n"
        "except KernelError as error:\n    print(error.fix)\n"
    )
    script = f'{NO_PROTOCOLS}; exec "$0" -c "$1"'
    words = ["unshare", "--map-root-user", "--mount", "--net", "sh", "-ec", script]
    done = subprocess.run(
        [*words, sys.executable, program], capture_output=True, text=True, check=False
    )
    assert (done.stdout[:21], done.stderr) == ("apt install netbase (", "")


def test_a_refused_ruleset_has_another_fix_than_check() -> None:
    nonsense = [{"add": {"rule": {"family": "inet", "table": "none", "chain": "none", "expr": []}}}]
    found = checkup._tried("nonsense", nonsense, (INET,), ["eth0"], "the fix")
    assert found.grade is Grade.FAIL
    assert "nonsense: nftables refused the ruleset" in found.what
    assert found.fix == "the fix"


def said(path: Path) -> list[str]:
    """Return every text in a file that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]


def test_no_text_that_check_may_print_sends_its_reader_to_check() -> None:
    paths = [*PACKAGE.glob("kernel/*.py"), *PACKAGE.glob("host/*.py")]
    texts = [text for path in paths for text in said(path) if "vipnft check" in text]
    assert texts == [nft.SEE_CHECK]  # which check replaces by a fix of its own
