"""Inputs made of good ones: bytes turned over, values put in the place of others, or noise."""

import json
import random
from collections.abc import Sequence
from typing import Any

NUMBERS = (0, -1, 1, 1001, 2**31, 2**63, 10**400, 0.1, -0.5, 61, 1e9, 1e999, float("nan"))
WORDS = (
    "", "a\nb", "\x1b]0;title\x07", "../../etc/x", "x" * 5000, "\u202e", "\ud800", "null", "?", "/",
    "web1", "eth0", "0.0.0.0/0", "[::1]", "\x00", "%s%n", "$(id)", "1e999", "0x", "SECRET@",
)  # fmt: skip
DEEP = 100_000  # brackets
PIECES = (
    *(bytes([one]) for one in b'[]{}",:=@/?%&-.\n\x00\xff\x1b'),
    b"9" * 50, b"e999", b"Infinity", b"NaN", b"null", b"true", b"\\u0000", b"\xe2\x80\xae",
)  # fmt: skip


def mutated(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return an input made of one of the seeds."""
    seed = draw.choice(seeds)
    fate = draw.random()
    if fate < 0.02:
        return draw.randbytes(draw.randrange(200))
    if fate < 0.021:
        return draw.choice((b"[", b'{"a":', b"(")) * DEEP
    if fate < 0.6 and (found := _loaded(seed)) is not None:
        for _ in range(draw.randint(1, 3)):
            found = _replaced(draw, found)
        return json.dumps(found).encode(errors="surrogatepass")
    return _damaged(draw, seed)


def _loaded(seed: bytes) -> Any:
    try:
        return json.loads(seed)
    except ValueError:
        return None


def _replaced(draw: random.Random, value: Any) -> Any:
    """Return a document with one of its values replaced, gone, or there twice."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        if draw.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if draw.random() < 0.1:
            return {**value, draw.choice(WORDS): value[key]}
        return {**value, key: _replaced(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.7:
        at = draw.randrange(len(value))
        return [*value[:at], _replaced(draw, value[at]), *value[at + draw.randint(0, 2) :]]
    return draw.choice((_leaf(draw), [_leaf(draw)], {str(_leaf(draw)): _leaf(draw)}, []))


def _leaf(draw: random.Random) -> Any:
    return draw.choice((draw.choice(NUMBERS), draw.choice(WORDS), None, True, False))


def _damaged(draw: random.Random, text: bytes) -> bytes:
    """Return bytes with some of them changed, gone, new, or from elsewhere."""
    changed = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        upto = min(len(changed), at + draw.randrange(1, 20))
        match draw.randrange(4):
            case 0:
                del changed[at:upto]
            case 1:
                changed[at:at] = draw.choice(PIECES)
            case 2:
                changed[at:upto] = draw.randbytes(upto - at)
            case _:
                there = draw.randrange(len(changed) + 1)
                changed[at:at] = changed[there : there + draw.randrange(1, 40)]
    return bytes(changed)
