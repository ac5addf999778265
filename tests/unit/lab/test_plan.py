"""Names, numbers and addresses of a lab."""

import pytest

from vipnft.errors import UsageError
from vipnft.lab import plan
from vipnft.lab.plan import MAX_HOSTS, Plan


@pytest.mark.parametrize(
    ("number", "mac", "address", "gateway"),
    [
        (1, "02:00:00:00:00:01", "192.0.2.1", "192.0.2.254"),
        (99, "02:00:00:00:00:63", "192.0.2.99", "192.0.2.254"),
        (100, "02:00:00:00:00:64", "198.18.0.100", "198.18.255.254"),
        (1000, "02:00:00:00:03:e8", "198.18.3.232", "198.18.255.254"),
    ],
)
def test_a_host_follows_from_its_number(number: int, mac: str, address: str, gateway: str) -> None:
    assert plan.host_name(number) == f"web{number}"
    assert plan.host_mac(number) == mac
    assert str(plan.host_address(number)) == address
    assert str(plan.host_gateway(number)) == gateway
    assert plan.host_gateway(number) in plan.host_network(number)


def test_no_two_have_the_same_address_or_mac() -> None:
    numbers = range(1, MAX_HOSTS + 1)
    addresses = {plan.host_address(number) for number in numbers}
    others = {plan.VIP, plan.NEAR_ROUTER, plan.FAR_ROUTER, plan.UPLINK, plan.DOWNLINK}
    assert len(addresses | others) == MAX_HOSTS + len(others)
    macs = {plan.host_mac(number) for number in numbers} | {plan.ROUTER_MAC, plan.BRIDGE_MAC}
    assert len(macs) == MAX_HOSTS + 2
    assert plan.cluster(1).segments[0].listen_mac not in macs
    six = {plan.host_address6(number) for number in numbers}
    assert len(six | {plan.VIP6, plan.ROUTER6}) == MAX_HOSTS + 2
    assert all(address in plan.NET6 for address in six)


def test_clients_are_inside_their_network() -> None:
    assert str(plan.client_address(0)) == "10.64.0.1"
    assert str(plan.client_address(999)) == "10.64.3.232"
    assert plan.client_address(1_000_000) in plan.CLIENT_NET
    assert str(plan.client_address6(0)) == "2001:db8:64:1::1"
    assert plan.client_address6(10_000) in plan.CLIENT_NET6


@pytest.mark.parametrize("hosts", [0, -1, MAX_HOSTS + 1])
def test_an_impossible_number_of_hosts_is_refused(hosts: int) -> None:
    with pytest.raises(UsageError) as refused:
        Plan(hosts=hosts)
    assert refused.value.fix == f"give 1 to {MAX_HOSTS} hosts"


@pytest.mark.parametrize("mtu", [575, 1501])
def test_an_impossible_mtu_is_refused(mtu: int) -> None:
    with pytest.raises(UsageError, match=str(mtu)):
        Plan(mtu=mtu)


def test_the_segment_comes_first() -> None:
    assert Plan(hosts=2).nodes == ("segment", "router", "clients", "web1", "web2")
    assert Plan(hosts=2).host_names == ("web1", "web2")


def test_the_cluster_names_every_host_once() -> None:
    cluster = plan.cluster(3, seed=5, buckets=64)
    assert list(cluster.weights) == ["web1", "web2", "web3"]
    assert (cluster.seed, cluster.buckets, cluster.vips) == (5, 64, (plan.VIP, plan.VIP6))
    assert {nic.interface for host in cluster.hosts for nic in cluster.nics(host.name)} == {"eth0"}
