"""Cluster files for tests, with a fault each, and what is said of it."""

HEAD = """\
[cluster]
name = "dns"
seed = 0x6d2f1c3b
vips = ["192.0.2.100"]
interface = "eth0"
"""
HOST = """
[[host]]
name = "web1"
"""
SECOND = HOST.replace("web1", "web2")
SMALL = HEAD + HOST

NAME = 'use a name of 1 to 63 letters, digits, ".", "_" or "-"'
SEED = "a whole number from 0 to 4294967295, the same on every host, kept private"
VIPS = 'use unicast addresses, such as ["192.0.2.100", "2001:db8::100"]'
INTERFACE = 'use a Linux interface name of 1 to 15 characters, such as "eth0"'
BUCKETS = "use a whole number from 1 to 65536"
WEIGHT = "use a whole number from 0 to 1000"
MAC = 'use a unicast MAC, such as "02:00:00:00:00:01"'
TOML = "correct it there (text stands in quotes, a number does not)"
TABLES = "cluster, segment, host, service, check"
CLUSTER_KEYS = (
    "name, seed, secret, vips, interface, buckets, listen_mac, mode, xdp, store, password_file,"
    " lease, beat, on_store_loss, promise_port, settle, balance, balance_every, balance_cpu"
)


def head(old: str, new: str) -> str:
    """Return the small file with one piece of it replaced."""
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


def vips(*written: str) -> str:
    return head('"192.0.2.100"', ", ".join(f'"{vip}"' for vip in written))


def interface(written: str) -> str:
    return head('"eth0"', f"'{written}'")


def cluster(line: str) -> str:
    return f"{HEAD}{line}\n{HOST}"


def host(*lines: str) -> str:
    return SMALL + "\n".join(lines) + "\n"


def bad_vip(written: str, what: str, fix: str = VIPS) -> tuple[str, list[str]]:
    return vips(written), [f'cluster.vips[0]: is "{written}", {what}; {fix}']


def bad_interface(written: str, shown: str = "") -> tuple[str, list[str]]:
    shown = shown or f'"{written}"'
    return interface(written), [
        f"cluster.interface: is {shown}, not an interface name; {INTERFACE}"
    ]


def bad_name(written: str) -> tuple[str, list[str]]:
    return head('"dns"', f'"{written}"'), [f'cluster.name: is "{written}", not a name; {NAME}']


def bad_mac(written: str, what: str) -> tuple[str, list[str]]:
    line = f'host[0] ("web1").send_mac: is "{written}", {what}; {MAC}'
    return host(f'send_mac = "{written}"'), [line]


def check(*lines: str) -> str:
    return SMALL + "\n[[check]]\n" + "\n".join(lines) + "\n"


SEGMENT = '\n[[segment]]\nvips = ["2001:db8::1"]\ninterface = "eth1"\n'


def service(*lines: str) -> str:
    return SMALL + "\n[[service]]\n" + "\n".join(lines) + "\n"
