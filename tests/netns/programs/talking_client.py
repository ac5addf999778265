"""Run inside the clients node: connections that ask again and again, until they are reset.

    python talking_client.py SERVER a,b,c [PAUSE]

Each asks every PAUSE seconds, 0.1 unless said; one that waits for an answer, which may never come,
has its kernel ask whether the other side is there. Prints "open" once all were answered, and after
a line of standard input "on" once each was answered twice more, or has ended. Each goes on until it
was reset and served again. In the end JSON: was it reset, and when did it end, and was it served
again (monotonic)?
"""

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from typing import Any

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT_S = 600.0
LOOK_S = 0.02
KEPT_ALIVE = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *(
    (socket.IPPROTO_TCP, option, number) for option, number in (
        (socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 127),
    )
))  # fmt: skip


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(REQUEST)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"
    )
    await reader.readexactly(length)


class Talk:
    def __init__(self, server: str, clients: list[str], pause: float) -> None:
        self.server, self.clients, self.pause = server, clients, pause
        self.answers: Counter[str] = Counter()
        self.ended: dict[str, float] = {}

    async def talk(self, client: str) -> tuple[str, Any]:
        reader, writer = await asyncio.open_connection(self.server, 80, local_addr=(client, 0))
        for option in KEPT_ALIVE:
            writer.get_extra_info("socket").setsockopt(*option)
        end, reset = time.monotonic() + TIMEOUT_S, False
        try:
            while True:
                async with asyncio.timeout(end - time.monotonic()):
                    await ask(reader, writer)
                    self.answers[client] += 1
                    await asyncio.sleep(self.pause)
        except TimeoutError:
            self.ended[client] = time.monotonic()
            return client, {"reset": False, "ended": None, "served": None}
        except (OSError, asyncio.IncompleteReadError) as error:
            reset = isinstance(error, ConnectionResetError)
        self.ended[client] = time.monotonic()
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self.server, 80, local_addr=(client, 0))
            await ask(reader, writer)
        writer.close()
        return client, {"reset": reset, "ended": self.ended[client], "served": time.monotonic()}

    async def reached(self, goal: Counter[str]) -> None:
        while not all(self.answers[c] >= goal[c] or c in self.ended for c in self.clients):
            await asyncio.sleep(LOOK_S)

    async def run(self) -> dict[str, Any]:
        tasks = [asyncio.create_task(self.talk(client)) for client in self.clients]
        await asyncio.wait_for(self.reached(Counter(self.clients)), 30)
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await self.reached(self.answers + Counter(2 * self.clients))
        print("on", flush=True)
        return dict(await asyncio.gather(*tasks))


if __name__ == "__main__":
    server, clients, *pause = sys.argv[1:]
    talk = Talk(server, clients.split(","), float(pause[0]) if pause else 0.1)
    print(json.dumps(asyncio.run(talk.run())))
