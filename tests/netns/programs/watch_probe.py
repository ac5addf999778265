"""Run inside a host: print a line each time the kernel tells something.

    python watch_probe.py

"heard": something that matters, of our nft tables, eth0, and the VIPs. "woken": nothing of what it
told does.
"quiet": nothing at all for a moment, since the start or since the last of those.
"""

import select
import time
from ipaddress import ip_address

from vipnft.kernel.watch import Watch

MOMENT_S = 0.5


def main() -> None:
    with Watch(["eth0"], [ip_address("192.0.2.100"), ip_address("2001:db8::100")]) as watch:
        poll = select.poll()
        for fileno in watch.filenos():
            poll.register(fileno, select.POLLIN)
        since, told = time.monotonic(), False
        while True:
            woken = poll.poll(1000 * MOMENT_S / 5)
            heard = any(watch.heard())
            if woken or heard:
                print("heard" if heard else "woken", flush=True)
                since, told = time.monotonic(), False
            elif not told and time.monotonic() - since > MOMENT_S:
                print("quiet", flush=True)
                told = True


if __name__ == "__main__":
    main()
