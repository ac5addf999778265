"""An etcd:// URL: members, credentials, and how it may be shown.

Rule 1: of a URL that is none, nothing is shown but what can only be a host.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from vipnft.errors import UsageError
from vipnft.store.contract import SCHEMES
from vipnft.store.etcd_connection import Credentials
from vipnft.store.etcd_member import Member

_PORT = 2379
_MEMBER = re.compile(
    r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\])(?::([0-9]{1,5}))?"
)
_PASSWORD_CHARS = 4096


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

    @property
    def in_clear(self) -> bool:
        """Whether a password leaves this machine without TLS."""
        known = self.credentials
        away = any(not _LOOPBACK.match(host) for host, _ in self.addresses)
        return bool(known.password and not known.ca and away)


_LOOPBACK = re.compile(r"localhost$|127\.|::1$")


def parsed(url: str, password_file: str = "") -> EtcdUrl:
    """Return what etcd://... says, with the password of a file if it has none; UsageError if it is
    no such URL, or its files are unfit."""
    head, _, query = url.partition("://")[2].partition("?")
    if "@" in query or head.count("@") > 1:
        raise UsageError(
            'an etcd:// URL with an "@" too many',
            fix="give user and password once, in front of the first host, for all members;"
            " percent-encode signs in them: @ is %40, ? is %3F, / is %2F",
        )
    login, _, hosts = head.rstrip("/").rpartition("@")
    members = hosts.split(",")
    shown = f"etcd://{','.join(one if _MEMBER.fullmatch(one) else '…' for one in members)}"
    addresses = tuple(_address(one, shown) for one in members)
    files = dict(parse_qsl(query, keep_blank_values=True))
    unknown = bool(set(files) - {"ca", "cert", "key"}) or (query and not files)
    if unknown or ("cert" in files) != ("key" in files) or ("cert" in files) > ("ca" in files):
        why = "only ca, cert and key are known behind the ?" if unknown else _LACKS
        raise UsageError(f"{shown}: {why}", fix=f"give it as {SCHEMES['etcd']}")
    _require_readable(files, shown)
    user, _, password = (unquote(part) for part in login.partition(":"))
    if password_file:
        password = _password(password_file, shown, user, password)
    known = Credentials(user=user, password=password, **files)
    return EtcdUrl(addresses, known, shown.replace("//", f"//{user}@", 1) if user else shown)


_LACKS = "cert and key go together, and with ca"


def _address(member: str, shown: str) -> tuple[str, int]:
    """Return host and port of "host", "host:port", "[v6]" or "[v6]:port"."""
    found = _MEMBER.fullmatch(member)
    port = int(found[3] or _PORT) if found else 0
    if not found or not 0 < port < 2**16:
        raise UsageError(
            f"{shown}: a member is no host:port",
            fix=f"give it as {SCHEMES['etcd']}, an IPv6 address in brackets",
        )
    return found[1] or found[2], port


def _password(file: str, shown: str, user: str, password: str) -> str:
    """Return what is in a file, by its path, or by the name that a service manager gave it."""
    if not user or password:
        raise UsageError(
            f"{shown}: password_file goes with a user in the URL, and no password there",
            fix="give it as etcd://USER@HOST",
        )
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/"), file)
    try:
        with path.open(encoding="utf-8") as text:
            return text.read(_PASSWORD_CHARS).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise UsageError(
            f"password_file {path}: {why}",
            fix="a file of root's, chmod 600, or the name of one of systemd's LoadCredential=",
        ) from error


def _require_readable(files: Mapping[str, str], shown: str) -> None:
    """Read the TLS files once, to say now what is wrong with them."""
    name = "ca"
    try:
        if "ca" in files:
            context = ssl.create_default_context(cafile=files["ca"])
            if "cert" in files:
                name = "cert and key"
                context.load_cert_chain(files["cert"], files["key"], password=lambda: "")
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(
            f"{shown}: {name}: {why}",
            fix=f"see that {' and '.join(files.values())} are PEM files this user can read, "
            "and that the key has no password",
        ) from error
