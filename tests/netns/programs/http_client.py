"""Run inside the clients node: one HTTP request from each given address; prints who answered.

python http_client.py SERVER     (addresses, with commas between, on standard input)

An address may have a port behind "|", to be connected from.
"""

import asyncio
import json
import sys

AT_ONCE = 100


async def get(server: str, client: str, turn: asyncio.Semaphore) -> tuple[str, str]:
    address, _, port = client.partition("|")
    local = (address, int(port or 0))
    async with turn:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(server, 80, local_addr=local)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            reply = await reader.read()
            writer.close()
        return client, reply.rsplit(b"\r\n\r\n", 1)[1].decode()


async def main(server: str, clients: list[str]) -> dict[str, str]:
    turn = asyncio.Semaphore(AT_ONCE)
    return dict(await asyncio.gather(*(get(server, client, turn) for client in clients)))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.stdin.read().split(",")))))
