"""Run inside a host: be its data plane, and glance.

    python glance_probe.py FILE HOST

For each line that comes, a shell's command, do it, and print what a glance then says: a word for
each part that differs ("rules", "links"), or "same". What differs is compared and mended before
the next command is done: so the test can undo first what no agent could mend.
"""

import subprocess
import sys
from pathlib import Path

from vipnft.agent.dataplane import Dataplane, endless
from vipnft.config.reader import parse
from vipnft.model import Mode


def main() -> None:
    file, host = sys.argv[1:]
    cluster = parse(Path(file).read_text(encoding="utf-8"), file)
    plane = Dataplane(cluster, host, Mode.SWITCH)
    hosts = sorted(cluster.weights)
    owners = tuple(hosts[b % len(hosts)] for b in range(cluster.buckets))
    plane.up()
    # Each phase: owned, foreign, and in the first buckets draining and joining.
    plane.adopt(owners, endless({b: frozenset({hosts[(b + 1) % len(hosts)]}) for b in range(8)}))
    plane.mend(rules=False)
    plane.arm(0, 1.0)
    said: list[str] = []
    for line in sys.stdin:
        if said:
            plane.mend()
            plane.mend(rules=False)
            plane.arm(0, 1.0)
        subprocess.run(line, shell=True, check=True)  # noqa: S602 - the test's own
        seen, changes = plane.at_rules()
        around = plane.at_links()
        assert seen is not None
        assert around is not None
        said = [
            *(["rules"] if not plane.is_sound(seen, changes) else []),
            *(["links"] if not plane.is_same(around) else []),
        ]
        print(" ".join(said) or "same", flush=True)
    plane.down()


if __name__ == "__main__":
    main()
