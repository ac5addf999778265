"""Run on a machine: SCTP associations that are told, whenever they ask, which host they reached."""

import socket
import threading


def answer(one: socket.socket) -> None:
    """Answer one association for as long as it lasts."""
    with one:
        while one.recv(100):
            one.sendall(socket.gethostname().encode())


def main() -> None:
    """Serve for good, on every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as server:
        server.bind(("", 9))
        server.listen(100)
        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
