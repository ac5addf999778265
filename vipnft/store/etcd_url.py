"""An etcd:// URL: members, credentials, and how it may be shown."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from vipnft.errors import UsageError
from vipnft.store.contract import SCHEMES
from vipnft.store.etcd_connection import Credentials
from vipnft.store.etcd_member import Member

_PORT = 2379


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """What a URL says: members as host and port, who we are to them, and the URL as it may be
    shown: without the password."""

    addresses: tuple[tuple[str, int], ...]
    credentials: Credentials
    shown: str

    def members(self) -> list[Member]:
        """Return the members to be asked, with connections of their own."""
        return [Member(*address, self.credentials) for address in self.addresses]


def parsed(url: str) -> EtcdUrl:
    """Return what etcd://... says; UsageError if it is no such URL, or its files are unfit."""
    authority, _, query = url.partition("://")[2].partition("?")
    login, _, hosts = authority.rstrip("/").rpartition("@")
    user, _, password = (unquote(part) for part in login.partition(":"))
    shown = f"etcd://{f'{user}@' if user else ''}{hosts}"
    files = dict(parse_qsl(query, keep_blank_values=True))
    wrong = set(files) - {"ca", "cert", "key"}
    if wrong or ("cert" in files) != ("key" in files) or ("cert" in files) > ("ca" in files):
        raise UsageError(
            f"{shown}: " + (f"unknown: {', '.join(sorted(wrong))}" if wrong else _LACKS),
            fix=f"give it as {SCHEMES['etcd']}",
        )
    _require_readable(files, shown)
    addresses = tuple(_address(host, shown) for host in hosts.split(","))
    return EtcdUrl(addresses, Credentials(user=user, password=password, **files), shown)


_LACKS = "cert and key go together, and with ca"


def _address(host: str, shown: str) -> tuple[str, int]:
    """Return host and port of "host", "host:port", "[v6]" or "[v6]:port"."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, str(_PORT)
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        name = ""
    if not name or "/" in name or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"{shown}: {host!r} is no host:port", fix=f"give it as {SCHEMES['etcd']}")
    return name, int(port)


def _require_readable(files: Mapping[str, str], shown: str) -> None:
    """Read the TLS files once, to say now what is wrong with them."""
    name = "ca"
    try:
        if "ca" in files:
            context = ssl.create_default_context(cafile=files["ca"])
            if "cert" in files:
                name = "cert and key"
                context.load_cert_chain(files["cert"], files["key"], password=lambda: "")
    except OSError as error:
        raise UsageError(
            f"{shown}: {name}: {error.strerror or error}",
            fix=f"see that {' and '.join(files.values())} are PEM files this user can read, "
            "and that the key has no password",
        ) from error
