"""Run inside a host: print a line each time the kernel tells something that matters.

    python watch_probe.py

"heard N": it did, and so far the kernel has woken this process up N times.
"quiet": nothing that matters for a moment, since the start or since the last of those.
"""

import select
import time

from vipnft.kernel.watch import Watch

MOMENT = 0.5


def main() -> None:
    with Watch() as watch:
        poll = select.poll()
        for fileno in watch.filenos():
            poll.register(fileno, select.POLLIN)
        woken, since, told = 0, time.monotonic(), False
        while True:
            woken += bool(poll.poll(1000 * MOMENT / 5))
            if watch.heard():
                print(f"heard {woken}", flush=True)
                since, told = time.monotonic(), False
            elif not told and time.monotonic() - since > MOMENT:
                print("quiet", flush=True)
                told = True


if __name__ == "__main__":
    main()
