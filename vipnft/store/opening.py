"""The store that a URL names.

Rule 1: opening asks nobody: who opens a store that is down gets the error at the first call,
        and may go on calling; the object finds the store again by itself.
Rule 2: a backend is imported only when such a store is opened.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from vipnft.errors import UsageError
from vipnft.store.contract import SCHEMES, Store

_IN_CLEAR = (
    "the store's password goes over the network in clear: give etcd certificates, and the URL"
    " ?ca=FILE"
)


def open_store(url: str, cluster: str, password_file: str = "") -> Store:
    """Return the store a URL names; UsageError if the URL or this machine is unfit for it."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        from vipnft.store.sqlite import SqliteStore  # noqa: PLC0415 - see rule 2

        return SqliteStore.at(url, cluster)
    if scheme == "etcd":
        from vipnft.store.etcd import EtcdStore  # noqa: PLC0415 - see rule 2

        return EtcdStore.at(url, cluster, password_file)
    raise UsageError(
        "there is no store of such a URL",  # which may hold a password
        fix=f"give one of these: {'  '.join(SCHEMES.values())}",
    )


def is_there(url: str) -> bool:
    """Tell whether to ask the store would make none: a file that is not there is made."""
    return _scheme(url) != "sqlite" or Path(unquote(url.partition("://")[2])).exists()


def advice(url: str, password_file: str = "") -> list[str]:
    """Return what is unwise about a store; UsageError as of `open_store`."""
    if _scheme(url) != "etcd":
        return []
    from vipnft.store.etcd_url import parsed  # noqa: PLC0415 - see rule 2

    return [_IN_CLEAR] if parsed(url, password_file).in_clear else []


def _scheme(url: str) -> str:
    """Return what is in front of ://, if that can be a scheme."""
    found = re.match(r"([A-Za-z0-9]{1,20})://", url)
    return found[1] if found else ""
