"""A TCP service that tells every client which host it reached, and hangs up.

    python -m vipnft.lab.service PORT

Rule 1: once it has said `ready`, it is.
Rule 2: the standard library only, and little of it: every host of a lab runs one.
"""

import asyncio
import socket
import sys

BACKLOG = 4096


async def serve(port: int) -> None:
    """Serve on every address of this host, for good."""
    name = socket.gethostname().encode()

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name + b"\n")
        writer.close()

    server = await asyncio.start_server(greet, "0.0.0.0", port, backlog=BACKLOG)  # noqa: S104
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
