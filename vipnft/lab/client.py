"""Many clients, each with an address of its own, and what answered each of them.

    python -m vipnft.lab.client SERVER PORT COUNT [AT_A_TIME [SECONDS]]

Rule 1: each is a real TCP connection, from an address that no other client has.
Rule 2: one line of JSON: {"answers": {client: what it was told}, "errors": {client: why not}}.
"""

import asyncio
import json
import sys

from vipnft.lab.plan import client_address

AT_A_TIME = 64
"""Connections open at once; below what a router queues while it asks who has the VIP (101)."""
TIMEOUT_S = 10.0
"""How long a client waits for its answer, a few repeated SYNs included."""


async def ask(server: str, port: int, client: str, seconds: float) -> str:
    """Connect from a client's address, and return what the host said."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(server, port, local_addr=(client, 0))
        try:
            return (await reader.read()).decode().strip()
        finally:
            writer.close()


async def ask_all(
    server: str, port: int, count: int, at_a_time: int = AT_A_TIME, seconds: float = TIMEOUT_S
) -> dict[str, dict[str, str]]:
    """Have `count` clients ask; nobody's failure keeps the others from asking."""
    room = asyncio.Semaphore(at_a_time)
    answers: dict[str, str] = {}
    errors: dict[str, str] = {}

    async def one(client: str) -> None:
        async with room:
            try:
                answers[client] = await ask(server, port, client, seconds)
            except (OSError, TimeoutError) as error:
                errors[client] = str(error) or type(error).__name__

    await asyncio.gather(*(one(str(client_address(number))) for number in range(count)))
    return {"answers": answers, "errors": errors}


if __name__ == "__main__":
    server, port, count, *more = sys.argv[1:]
    at_a_time, seconds = [*more, *(str(AT_A_TIME), str(TIMEOUT_S))[len(more) :]]
    found = asyncio.run(ask_all(server, int(port), int(count), int(at_a_time), float(seconds)))
    sys.stdout.write(json.dumps(found) + "\n")
