"""Run inside a host: a server by UDP that works for as long as it is asked to, and then answers.

    python working_server.py ADDRESS

A question is how many microseconds of CPU time its answer takes. The address may come later.
"""

import socket
import sys
import time

PORT = 4000
IP_FREEBIND = 15  # linux/in.h


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        server.bind((address, PORT))
        while True:
            question, client = server.recvfrom(64)
            work(int(question) / 1e6)
            server.sendto(question, client)


if __name__ == "__main__":
    main(sys.argv[1])
