"""Run inside the clients node: clients that ask again and again, each at its own rate.

    python skewed_client.py SERVER     (on standard input JSON: requests a second, by address)

Each request is a connection of its own. Prints "open" once each client was answered, and when
standard input ends JSON: how many were answered, and the errors of the others.
"""

import asyncio
import json
import sys
import time
from collections import Counter

TIMEOUT_S = 20.0


async def get(server: str, client: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(server, 80, local_addr=(client, 0))
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            if not (await reader.read()).startswith(b"HTTP/1."):
                raise ConnectionError("no answer")
        finally:
            writer.close()


async def keep_asking(
    server: str, client: str, rate: float, end: asyncio.Event, found: Counter[str]
) -> None:
    due = time.monotonic()
    while not end.is_set():
        try:
            await get(server, client)
            found["answered"] += 1
        except (OSError, TimeoutError) as error:
            found[f"{type(error).__name__}: {error}"] += 1
        due = max(due + 1 / rate, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def main(server: str, rates: dict[str, float]) -> Counter[str]:
    end, found = asyncio.Event(), Counter[str]()
    await asyncio.gather(*(get(server, client) for client in rates))
    print("open", flush=True)
    asking = [
        asyncio.create_task(keep_asking(server, client, rate, end, found))
        for client, rate in rates.items()
    ]
    await asyncio.to_thread(sys.stdin.read)
    end.set()
    await asyncio.gather(*asking)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.stdin.readline())))))
