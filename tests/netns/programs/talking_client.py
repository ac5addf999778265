"""Run inside the clients node: connections that ask again every 100 ms, until told to stop.

    python talking_client.py SERVER a,b,c

Prints "open" once all were answered. After a line of standard input each goes on until it was
reset and served again. In the end JSON: was it reset, and when was it served again (monotonic)?
"""

import asyncio
import json
import sys
import time
from typing import Any

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT_S = 60.0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"
    )
    await reader.readexactly(length)


async def talk(server: str, client: str, answered: asyncio.Semaphore) -> tuple[str, Any]:
    reader, writer = await asyncio.open_connection(server, 80, local_addr=(client, 0))
    await ask(reader, writer)
    answered.release()
    end = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < end:
            async with asyncio.timeout(end - time.monotonic()):
                await ask(reader, writer)
            await asyncio.sleep(0.1)
    except (OSError, asyncio.IncompleteReadError) as error:
        reset = isinstance(error, ConnectionResetError)
    except TimeoutError:
        return client, {"reset": False, "served": None}
    else:
        return client, {"reset": False, "served": None}
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(server, 80, local_addr=(client, 0))
        await ask(reader, writer)
    writer.close()
    return client, {"reset": reset, "served": time.monotonic()}


async def main(server: str, clients: list[str]) -> dict[str, Any]:
    answered = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(talk(server, client, answered)) for client in clients]
    for _ in clients:
        await asyncio.wait_for(answered.acquire(), 30)
    print("open", flush=True)
    return dict(await asyncio.gather(*tasks))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2].split(",")))))
