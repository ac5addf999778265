"""Run inside the clients node: N downloads at once, each from an address of its own.

    python download_client.py SERVER N

Each reads a little at a time until a line comes on standard input, then the rest. Prints "open"
once all have answered, in the end JSON: each client's SHA-256 of what it got.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import socket
import sys

FIRST = ipaddress.IPv4Address("10.64.0.1")


LITTLE, PAUSE = 4096, 0.4


async def get(
    server: str, client: str, answered: asyncio.Semaphore, go: asyncio.Event
) -> tuple[str, str]:
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # or it arrives in no time
    plug.setblocking(False)
    plug.bind((client, 0))
    try:
        await asyncio.get_running_loop().sock_connect(plug, (server, 80))
        reader, writer = await asyncio.open_connection(sock=plug, limit=LITTLE)
        writer.write(b"GET /big HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        answered.release()
        digest = hashlib.sha256()
        while data := await reader.read(LITTLE):
            digest.update(data)
            if not go.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(go.wait(), PAUSE)
        writer.close()
    except OSError as error:
        return client, str(error)
    return client, digest.hexdigest()


async def main(server: str, count: int) -> dict[str, str]:
    answered, go = asyncio.Semaphore(0), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, go.set)
    tasks = [
        asyncio.create_task(get(server, str(FIRST + number), answered, go))
        for number in range(count)
    ]
    for _ in range(count):
        await asyncio.wait_for(answered.acquire(), 60)
    print("open", flush=True)
    await go.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)
    return dict(await asyncio.gather(*tasks))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))
