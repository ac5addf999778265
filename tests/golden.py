"""The golden rulesets: what each example gives on each host in each mode.

`make golden` writes them; tests/test_golden.py compares.
"""

from collections.abc import Iterator
from pathlib import Path

from vipnft.buckets.phases import owners_of, phases
from vipnft.config import reader
from vipnft.kernel import scratch
from vipnft.model import Mode
from vipnft.ruleset import transactions
from vipnft.ruleset.nftjson import render
from vipnft.ruleset.tables import TABLES

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
RULESETS = ROOT / "rulesets"


def golden(example: Path) -> Iterator[tuple[Path, str]]:
    """Yield each golden file of an example and what it must hold: JSON sent, text listed."""
    cluster = reader.parse(example.read_text(encoding="utf-8"), example.name)
    owners = owners_of(cluster)
    for host in cluster.hosts:
        share = phases(owners, {}, host.name, 0)
        for mode in Mode:
            interfaces = [nic.interface for nic in cluster.nics(host.name)]
            macs = dict.fromkeys(interfaces, transactions.STAND_IN_MAC)
            commands = transactions.whole(cluster, host.name, mode, macs, share, granted=True)
            listing = scratch.listing(commands, TABLES, interfaces)
            stem = RULESETS / f"{example.stem}.{host.name}.{mode}"
            yield stem.with_name(stem.name + ".json"), render(commands)
            yield stem.with_name(stem.name + ".nft"), "".join(listing.values())


def main() -> None:
    """Write all of them, and remove those that no example gives any more."""
    wanted = dict(pair for example in EXAMPLES for pair in golden(example))
    for path in set(RULESETS.iterdir()) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
