"""Run on a host: a QUIC server on port 443 that tells its name, then sends as much as is asked for.

    python quic_server.py DIRECTORY     (for its certificate)

A stream gets the host's name, and as many bytes as each number that comes on it says, slowly.
"""

import asyncio
import datetime
import socket
import sys
from pathlib import Path

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CHUNK, PAUSE = 1000, 0.01  # seconds


def certificate(home: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "vip")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, secret = home / "quic.pem", home / "quic.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


class Server(QuicConnectionProtocol):
    greeted = False

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.data:
            size, last = int(event.data), event.end_stream
            self._task = asyncio.ensure_future(self._answer(event.stream_id, size, last))

    async def _answer(self, stream: int, size: int, last: bool) -> None:
        if not self.greeted:
            self._quic.send_stream_data(stream, f"{socket.gethostname()}\n".encode())
            self.greeted = True
        for sent in range(0, size, CHUNK):
            self._quic.send_stream_data(stream, b"x" * min(CHUNK, size - sent))
            self.transmit()
            await asyncio.sleep(PAUSE)
        self._quic.send_stream_data(stream, b"", end_stream=last)
        self.transmit()


async def main(home: Path) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["test"])
    configuration.load_cert_chain(*certificate(home))
    await serve("192.0.2.100", 443, configuration=configuration, create_protocol=Server)
    await serve("2001:db8::100", 443, configuration=configuration, create_protocol=Server)
    print("ready", flush=True)
    await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
