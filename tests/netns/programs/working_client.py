"""Run inside the clients node: clients that ask working_server.py, each so often a second.

    python working_client.py SERVER RATE     (on standard input JSON: microseconds, by address)

Prints "open" once it asks, and when standard input ends how many answers came.
"""

import asyncio
import json
import sys

from tests.netns.programs.working_server import PORT


class Client(asyncio.DatagramProtocol):
    answered = 0

    def datagram_received(self, _data: bytes, _address: tuple[str, int]) -> None:
        Client.answered += 1


async def main(server: str, rate: float, works: dict[str, int]) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()

    async def ask(address: str, question: bytes, first: float) -> None:
        transport, _ = await loop.create_datagram_endpoint(
            Client, local_addr=(address, 0), remote_addr=(server, PORT)
        )
        due = loop.time() + first
        while not end.is_set():
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + 1 / rate, loop.time() - 1)
            transport.sendto(question)
        transport.close()

    asking = [
        asyncio.create_task(ask(address, str(work).encode(), n / len(works) / rate))
        for n, (address, work) in enumerate(works.items())
    ]
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    end.set()
    await asyncio.gather(*asking)
    print(Client.answered)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), json.loads(sys.stdin.readline())))
