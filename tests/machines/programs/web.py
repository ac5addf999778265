"""Run on a machine: a web server that tells every client which host it reached.

Python's own library is all that a machine has for it. Connections last as long as clients like.
"""

import asyncio
import socket

NAME = socket.gethostname().encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(NAME), NAME)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests, until it ends."""
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            writer.write(REPLY)
            if b"HTTP/1.0" in request:
                break
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve for good, on every address."""
    server = await asyncio.start_server(answer, None, 80, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
