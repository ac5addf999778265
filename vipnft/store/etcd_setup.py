"""etcd on a cluster's own hosts: each member's configuration, and whether it is well.

Rule 1: timings follow the lease: an election must end within it, or every host falls silent.
Rule 2: what agents write many times a second must not fill a disk: old revisions are dropped.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from vipnft.errors import UsageError
from vipnft.store.etcd_member import Lost, Missed, Refused
from vipnft.store.etcd_url import EtcdUrl

_PEER_PORT = 2380
_ELECTION_MS = (200, 1000)  # least and most; the latter is etcd's default
_HEARTBEATS = 10
"""Heartbeats an election's timeout; etcd wants five at least."""
_QUOTA_BYTES = 2 << 30
"""Where etcd stops taking writes; its own default, said so that nobody has to know it."""
_NEARLY_FULL = 0.8
_ANSWER_S = 2.0
_MEMBERS = 3  # with fewer, the death of one stops all


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing looked at: whether it is well, what it is, and what to do if it isn't."""

    good: bool
    what: str
    fix: str = ""


def election_ms(lease: float) -> int:
    """Return how long members wait for a leader before they elect another, in milliseconds: two
    fifths of a lease (in seconds), since an election takes up to twice that."""
    least, most = _ELECTION_MS
    return min(max(round(lease * 400), least), most)


def configuration(url: EtcdUrl, cluster: str, lease: float) -> dict[str, str]:
    """Return each member's environment file (/etc/default/etcd on Debian), by its host in the URL.

    `lease` in seconds. UsageError where members share a host: those need ports of their own.
    """
    hosts = [host for host, _ in url.addresses]
    if len(set(hosts)) < len(hosts):
        raise UsageError(
            f"{url.shown}: members share a host",
            fix="name three hosts: a member beside a member dies with it",
        )
    names = {host: f"etcd{number}" for number, host in enumerate(hosts, 1)}
    peers = ",".join(f"{names[host]}={_peer(url, host)}" for host in hosts)
    return {
        host: _file(url, cluster, lease, host=host, port=port, name=names[host], peers=peers)
        for host, port in url.addresses
    }


def _file(
    url: EtcdUrl, cluster: str, lease: float, *, host: str, port: int, name: str, peers: str
) -> str:
    here = "0.0.0.0" if not _is_address(host) else host  # noqa: S104 - a name can't be listened on
    scheme, election = _scheme(url), election_ms(lease)
    settings = {
        "NAME": name,
        "DATA_DIR": f"/var/lib/etcd/{cluster}",
        "LISTEN_CLIENT_URLS": _url(scheme, here, port),
        "ADVERTISE_CLIENT_URLS": _url(scheme, host, port),
        "LISTEN_PEER_URLS": _url(scheme, here, _PEER_PORT),
        "INITIAL_ADVERTISE_PEER_URLS": _peer(url, host),
        "INITIAL_CLUSTER": peers,
        "INITIAL_CLUSTER_TOKEN": f"vipnft-{cluster}",
        "HEARTBEAT_INTERVAL": str(election // _HEARTBEATS),
        "ELECTION_TIMEOUT": str(election),
        "AUTO_COMPACTION_MODE": "periodic",
        "AUTO_COMPACTION_RETENTION": "5m",
        "QUOTA_BACKEND_BYTES": str(_QUOTA_BYTES),
        **_tls(url),
    }
    return "".join(f'ETCD_{key}="{value}"\n' for key, value in settings.items())


def _tls(url: EtcdUrl) -> dict[str, str]:
    """Return what TLS takes: of the server's own certificate only the place is known."""
    known = url.credentials
    if not known.ca:
        return {}
    own = {"CERT_FILE": "/etc/etcd/server.crt", "KEY_FILE": "/etc/etcd/server.key"}
    mutual = {"CLIENT_CERT_AUTH": "true"} if known.cert else {}
    peers = {"TRUSTED_CA_FILE": known.ca, "CLIENT_CERT_AUTH": "true", **own}
    return {
        **own,
        "TRUSTED_CA_FILE": known.ca,
        **mutual,
        **{f"PEER_{key}": value for key, value in peers.items()},
    }


def _scheme(url: EtcdUrl) -> str:
    return "https" if url.credentials.ca else "http"


def _peer(url: EtcdUrl, host: str) -> str:
    return _url(_scheme(url), host, _PEER_PORT)


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def examined(url: EtcdUrl) -> Iterator[Verdict]:
    """Ask every member how it is; yield what is well and what isn't."""
    count = len(url.addresses)
    if count < _MEMBERS or count % 2 == 0:
        fix = f"name {max(_MEMBERS, count + 1)} members in the URL"
        yield Verdict(False, f"{count} members: the loss of one is not bridged better", fix)
    leaders: Counter[str] = Counter()
    for member in url.members():
        try:
            status = member.ask("maintenance/status", {}, connect=_ANSWER_S, total=_ANSWER_S)
            asked = {"action": "GET"}
            alarms = member.ask("maintenance/alarm", asked, connect=_ANSWER_S, total=_ANSWER_S)
        except (Missed, Lost, Refused) as fault:
            fix = fault.fix or "see that it runs: systemctl status etcd"
            yield Verdict(False, f"{member.where}: {fault}", fix)
            continue
        finally:
            member.close()
        leaders[str(status.get("leader", "0"))] += 1
        yield from _member(member.where, status, alarms)
    yield _led(leaders)


def _member(where: str, status: dict[str, Any], alarms: dict[str, Any]) -> Iterator[Verdict]:
    size = int(status.get("dbSize", 0))
    version = status.get("version", "of no version")
    kinds = sorted({str(one.get("alarm")) for one in alarms.get("alarms", [])})
    if kinds:
        fix = "etcdctl defrag --cluster, then: etcdctl alarm disarm"
        yield Verdict(False, f"{where}: alarm {', '.join(kinds)}: it takes no writes", fix)
    elif size > _QUOTA_BYTES * _NEARLY_FULL:
        fix = "etcdctl defrag --cluster, and see ETCD_AUTO_COMPACTION_RETENTION"
        yield Verdict(False, f"{where}: {size >> 20} MiB of {_QUOTA_BYTES >> 20}", fix)
    else:
        yield Verdict(True, f"{where}: etcd {version}, {size >> 10} KiB")


def _led(leaders: Counter[str]) -> Verdict:
    if len(leaders) == 1 and "0" not in leaders:
        return Verdict(True, "all that answer follow one leader")
    if not leaders:
        return Verdict(False, "no member answers", "start etcd on these hosts")
    return Verdict(
        False,
        "the members follow no common leader",
        "see that they reach each other's port 2380: etcdctl endpoint status --cluster",
    )
