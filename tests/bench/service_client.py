"""Run inside the clients node: keep hosts busy until END; prints replies a second since BEGIN.

python service_client.py SERVER BEGIN END a,b,c d,e,f ...     (times as time.monotonic() has them)

Each list of addresses is one request in flight, all the time: each time another address of the
list, in turn, in a connection of its own. A reply counts by the part of its time that lies between
BEGIN and END.
"""

import asyncio
import itertools
import sys
import time

REQUEST = b"GET /big HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
TIMEOUT_S = 20.0


async def get(server: str, client: str) -> None:
    reader, writer = await asyncio.open_connection(server, 80, local_addr=(client, 0))
    writer.write(REQUEST)
    reply = await reader.read()
    writer.close()
    if not (b"Content-Encoding: gzip" in reply[:400] and reply.endswith(b"\r\n0\r\n\r\n")):
        raise ValueError(f"{client} got {len(reply)} bytes: {reply[:400]!r}")


async def replies(server: str, clients: list[str], begin: float, end: float) -> float:
    """Ask until `end`, and return how many replies came since `begin`."""
    count, started = 0.0, time.monotonic()
    for client in itertools.cycle(clients):
        if started >= end:
            break
        await get(server, client)
        ended = time.monotonic()
        count += max(0, min(ended, end) - max(started, begin)) / (ended - started)
        started = ended
    return count


async def main(server: str, begin: float, end: float, lists: list[str]) -> float:
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + TIMEOUT_S + end - begin):
        counts = await asyncio.gather(
            *(replies(server, clients.split(","), begin, end) for clients in lists)
        )
    return sum(counts) / (end - begin)


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])))
