"""Run at the router: print what the store holds whenever it changed, a line of JSON each time.

    python onlooker.py URL CLUSTER SECONDS

"at": when it was seen (monotonic, seconds). "beats": by host the version of its key. "table": the
table's version, with "owners" where that is another than before.
"""

import json
import sys
import time
from contextlib import suppress
from typing import Any

from vipnft.agreement.records import TABLE, AgreementError, Table, key_of, members
from vipnft.model import Snapshot
from vipnft.store.contract import Store, StoreError
from vipnft.store.opening import open_store

_PATIENCE_S = 0.4


def told(snapshot: Snapshot, version: int) -> dict[str, Any]:
    """Return what a line says, beside the time."""
    said: dict[str, Any] = {
        "beats": {host: snapshot[key_of(host)].version for host in members(snapshot)}
    }
    entry = snapshot.get(TABLE)
    if entry is not None:
        said["table"] = entry.version
        if entry.version != version:
            with suppress(AgreementError):
                said["owners"] = Table.load(entry.value).owners
    return said


def main(store: Store, pause: float) -> None:
    before: dict[str, Any] = {}
    version = 0
    while True:
        with suppress(StoreError):
            said = told(store.transact({}, {}, timeout=_PATIENCE_S).snapshot, version)
            version = said.get("table", 0)
            if said != before:
                print(json.dumps({"at": time.monotonic(), **said}), flush=True)
            before = {key: value for key, value in said.items() if key != "owners"}
        time.sleep(pause)


if __name__ == "__main__":
    main(open_store(sys.argv[1], sys.argv[2]), float(sys.argv[3]))
