"""Packet sockets where they may not be: the refusal is an error of ours."""

from tests.unit.kernel import restricted

OPENING = """
from vipnft.errors import UsageError
from vipnft.kernel.packet_socket import Port

try:
    Port("lo")
except UsageError as error:
    print(error)
"""


def test_a_refused_address_family_is_an_error_of_ours() -> None:
    said = restricted.run("AF_PACKET", "", OPENING)
    assert said == "raw frames need root (CAP_NET_RAW)\n"
