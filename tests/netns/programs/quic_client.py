"""Run inside the clients node: QUIC transfers, each from an address of its own.

    python quic_client.py SERVER SIZE a,b,c

Prints "open" once each has heard its host's name, and gets SIZE bytes from there after a line on
standard input. In the end JSON, by client: the name, and how many bytes came, or what went wrong.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

TIMEOUT_S = 10.0


async def transfer(
    server: str, size: int, client: str, heard: asyncio.Semaphore, go: asyncio.Event
) -> tuple[str, int | str]:
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["test"], verify_mode=ssl.CERT_NONE
    )
    name = "nobody"
    loop = asyncio.get_running_loop()
    wire, talk = await loop.create_datagram_endpoint(
        lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)),
        local_addr=(client, 0),
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            talk.connect((server, 443, 0, 0) if ":" in server else (server, 443))
            await talk.wait_connected()
            reader, writer = await talk.create_stream()
            writer.write(b"1")
            name = (await reader.readline()).decode().strip()
            await reader.readexactly(1)
        heard.release()
        await go.wait()
        async with asyncio.timeout(TIMEOUT_S):
            writer.write(str(size).encode())
            writer.write_eof()
            return name, len(await reader.read())
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        heard.release()
        return name, type(error).__name__
    finally:
        talk.close()
        wire.close()


async def main(server: str, size: int, clients: list[str]) -> dict[str, tuple[str, int | str]]:
    heard, go = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(transfer(server, size, c, heard, go)) for c in clients]
    for _ in clients:
        await heard.acquire()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    go.set()
    return dict(zip(clients, await asyncio.gather(*tasks), strict=True))


if __name__ == "__main__":
    server, size, clients = sys.argv[1:]
    print(json.dumps(asyncio.run(main(server, int(size), clients.split(",")))))
