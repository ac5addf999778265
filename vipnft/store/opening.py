"""The store that a URL names.

Rule 1: opening asks nobody: who opens a store that is down gets the error at the first call,
        and may go on calling; the object finds the store again by itself.
Rule 2: a backend is imported only when such a store is opened.
"""

from vipnft.errors import UsageError
from vipnft.store.contract import SCHEMES, Store


def open_store(url: str, cluster: str) -> Store:
    """Return the store a URL names; UsageError if the URL or this machine is unfit for it."""
    scheme, found, _ = url.partition("://")
    if found and scheme == "sqlite":
        from vipnft.store.sqlite import SqliteStore  # noqa: PLC0415 - see rule 2

        return SqliteStore.at(url, cluster)
    if found and scheme == "etcd":
        from vipnft.store.etcd import EtcdStore  # noqa: PLC0415 - see rule 2

        return EtcdStore.at(url, cluster)
    raise UsageError(
        f"no store is called {scheme!r}" if found else "a store is given as a URL",
        fix=f"give one of these: {'  '.join(SCHEMES.values())}",
    )
