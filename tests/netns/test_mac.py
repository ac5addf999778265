"""A MAC change that needs the interface down loses nothing that was there."""

from tests.netns.conftest import LabUp
from tests.netns.support import shell
from vipnft.model import Mode

ROUTES = """
ip addr add 192.0.2.77/24 valid_lft 500 preferred_lft 300 dev eth0
ip addr add 10.9.0.1 peer 10.9.0.2 dev eth0
ip addr add 2001:db8::1/64 dev eth0 nodad
ip addr add 2001:db8::2/64 valid_lft 600 preferred_lft 400 dev eth0 nodad
ip route add 10.1.0.0/16 via 192.0.2.253 src 192.0.2.1 table 77
ip route add 10.2.0.0/16 dev eth0 scope link mtu 1400 advmss 1200
ip route add 10.3.0.0/16 via 10.200.0.1 dev eth0 onlink
ip route add 10.4.0.0/16 nexthop via 192.0.2.250 weight 2 nexthop via 192.0.2.251 weight 1
ip -6 route add 2001:db8:5::/48 via 2001:db8::99 metric 7
ip -6 route add 2001:db8:6::/48 via 2001:db8::98 expires 500
ip -6 route add 2001:db8:7::/48 nexthop via 2001:db8::98 nexthop via 2001:db8::97
ip -6 route add default via fe80::1 dev eth0
ip neigh add 192.0.2.200 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
"""
# Without what time changes, and the flag that says an address was put back unasked.
LOOK = """
{ ip addr show dev eth0 | grep inet; ip route show table all; ip -6 route show table all
  ip neigh show nud permanent; } |
  sed -E 's/expires [0-9]+sec//; s/ nodad//; s/ tentative//; s/proto kernel_ll//' | sort
"""
WEAR = """
from pyroute2 import IPRoute
from vipnft.kernel.mac import while_down
with IPRoute() as ipr:
    print(while_down(ipr, ipr.link_lookup(ifname="eth0")[0], "eth0", "{mac}"))
"""


def test_every_address_and_route_is_put_back(lab_up: LabUp) -> None:
    lab = lab_up(hosts=1)
    own = shell(lab, "web1", "cat /sys/class/net/eth0/address").strip()
    shell(lab, "web1", ROUTES)
    before = shell(lab, "web1", LOOK)
    assert "2001:db8:7::/48" in before
    shell(lab, "web1", "sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=1")  # as apply --hub does
    for mac in ("02:bf:c0:00:02:64", own):
        lost = lab.run("web1", ["python", "-c", WEAR.format(mac=mac)], check=True).stdout
        assert lost.strip() == "[]"
        assert shell(lab, "web1", "cat /sys/class/net/eth0/address").strip() == mac
        assert shell(lab, "web1", LOOK) == before


def test_veth_changes_live(lab_up: LabUp) -> None:
    """The interface is never down: its carrier count stays."""
    lab = lab_up(hosts=1, mode=Mode.HUB)
    count = "cat /sys/class/net/eth0/carrier_changes"
    before = shell(lab, "web1", count)
    lab.run("web1", ["vipnft", "apply", "--hub"], check=True)
    assert shell(lab, "web1", count) == before
