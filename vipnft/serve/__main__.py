"""Serve on a socket that listens already: its descriptor, then this host's names.

The command line execs it, so that what that took is given back: two thirds of the memory.
"""

import socket
import sys
from contextlib import suppress

from vipnft.serve.answers import Answers
from vipnft.serve.server import Server

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        listener = socket.socket(fileno=int(sys.argv[1]))
        Server(listener, frozenset(sys.argv[2:]), Answers().answer).run()
