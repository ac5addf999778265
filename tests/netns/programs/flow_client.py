"""Run inside the clients node: TCP clients that never cease, until standing input ends.

    python flow_client.py SERVER OPEN RATE

OPEN connections ask again every 200 ms for as long as they last; RATE new ones a second ask once.
Prints "open" once the former were answered; in the end JSON: how many there were of each, what
ended which of them too early, and how long the slowest new one took, seconds.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from typing import Any

from tests.netns.programs.talking_client import ask

FIRST = 10 << 24 | 64 << 16 | 1
NEW = 10 << 24 | 70 << 16 | 1
TIMEOUT_S = 20.0


def address(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


class Flows:
    def __init__(self, server: str) -> None:
        self.server = server
        self.over = asyncio.Event()
        self.failed: Counter[str] = Counter()
        self.served = 0
        self.slowest = 0.0

    async def talk(self, number: int, answered: asyncio.Semaphore) -> None:
        try:
            local = (address(FIRST + number), 0)
            reader, writer = await asyncio.open_connection(self.server, 80, local_addr=local)
            while not self.over.is_set():
                async with asyncio.timeout(TIMEOUT_S):
                    await ask(reader, writer)
                answered.release()
                await asyncio.sleep(0.2)
            writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failed[f"open: {type(error).__name__}"] += 1

    async def once(self, number: int) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                local = (address(NEW + number), 0)
                reader, writer = await asyncio.open_connection(self.server, 80, local_addr=local)
                await ask(reader, writer)
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failed[f"new: {type(error).__name__}"] += 1
        else:
            self.served += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    async def come(self, rate: int) -> None:
        began, tasks = time.monotonic(), []
        for number in itertools.count():
            await asyncio.sleep(began + number / rate - time.monotonic())
            if self.over.is_set():
                break
            tasks.append(asyncio.create_task(self.once(number)))
        await asyncio.gather(*tasks)

    async def run(self, count: int, rate: int) -> dict[str, Any]:
        answered = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(self.talk(number, answered)) for number in range(count)]
        for _ in range(count):
            await asyncio.wait_for(answered.acquire(), TIMEOUT_S)
        tasks.append(asyncio.create_task(self.come(rate)))
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        self.over.set()
        await asyncio.gather(*tasks)
        return {
            "open": count,
            "new": self.served,
            "failed": dict(self.failed),
            "slowest": self.slowest,
        }


if __name__ == "__main__":
    server, count, rate = sys.argv[1:]
    print(json.dumps(asyncio.run(Flows(server).run(int(count), int(rate)))))
