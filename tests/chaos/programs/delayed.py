"""Run at the router: pass connections on to etcd's members, every byte late by half a round trip.

    python delayed.py HOST PORT:PORT...       from the one port to the other

Each line of standard input is the round trip's delay from then on, in seconds.
"""

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from functools import partial

_CHUNK_BYTES = 1 << 16


class Way:
    """How late everything is, in seconds."""

    def __init__(self) -> None:
        self.half = 0.0

    async def carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Carry one direction of a connection to its end."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def write() -> None:
            while True:
                at, data = await late.get()
                await asyncio.sleep(max(0.0, at - clock()))
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        writing = asyncio.create_task(write())
        try:
            data = b"-"
            while data:
                data = await _read(reader)
                late.put_nowait((clock() + self.half, data))
            with suppress(OSError):
                await writing
        finally:
            writing.cancel()
            writer.close()

    async def take(self, reader: StreamReader, writer: StreamWriter, host: str, port: int) -> None:
        """Carry both directions of a connection that came."""
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.carry(reader, back), self.carry(there, writer))


async def _read(reader: StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK_BYTES)
    except OSError:
        return b""


async def main(host: str, pairs: list[list[int]]) -> None:
    way = Way()
    for here, there in pairs:
        await asyncio.start_server(partial(way.take, host=host, port=there), host, here)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        way.half = float(line) / 2


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [[*map(int, pair.split(":"))] for pair in sys.argv[2:]]))
