"""Ask a service that is a DNS server, by dnspython, which is imported here alone and optional."""

import socket

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from vipnft.errors import UsageError
from vipnft.model import Address, Check


def question(check: Check) -> dns.message.QueryMessage:
    """Return a new query; UsageError for what no DNS server can be asked."""
    try:
        return dns.message.make_query(check.name, check.type)
    except (dns.exception.DNSException, UnicodeError) as error:
        fix = 'correct it, to such as name = "www.example.com" and type = "A"'
        what = f"a check of kind dns can't ask for {check.name!r} {check.type!r}: {error}"
        raise UsageError(what, fix=fix) from None


def ask(check: Check, vip: Address) -> str:
    """Ask once, over UDP; return "" or why the answer is none. TimeoutError, OSError."""
    family = socket.AF_INET if vip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(vip), check.port))  # connected: hears when the port is closed
        sock.setblocking(False)
        try:
            answer = dns.query.udp(
                question(check),
                str(vip),
                timeout=check.timeout,
                port=check.port,
                ignore_unexpected=True,
                ignore_errors=True,
                sock=sock,
            )
        except dns.exception.Timeout:
            raise TimeoutError from None
    if answer.rcode() != dns.rcode.NOERROR:
        return f"{dns.rcode.to_text(answer.rcode())}"
    if not isinstance(answer, dns.message.QueryMessage) or not answer.resolve_chaining().answer:
        return "truncated" if answer.flags & dns.flags.TC else "no such record in the answer"
    return ""
