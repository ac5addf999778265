"""What others wrote, as it may be shown.

Rule 1: nothing that a server, a kernel or another host wrote reaches a terminal or a log as it is:
        escapes, new lines and what turns the direction of text are spelled out.
Rule 2: a password is not shown, however its URL was mistyped.
"""

import re

_SCHEME = re.compile(r"[A-Za-z0-9+.-]{0,20}:/+")


def printable(text: str) -> str:
    """Return a text as one line that has nothing but letters, signs and spaces."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def without_login(url: str) -> str:
    """Return a URL without what may be user and password: whatever is before its last "@"."""
    scheme = _SCHEME.match(url)
    begin, at = scheme.end() if scheme else 0, url.rfind("@")
    return url if at < begin else f"{url[:begin]}…{url[at:]}"
