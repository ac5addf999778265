"""The kernel's Jenkins hash and nftables' use of it.

Rule 1: the answer is the kernel's, bit for bit; tests/netns ask a real kernel.
Rule 2: `mod N` is a multiply-shift of the hash, not its remainder
        (nft_jhash_eval: reciprocal_scale, net/netfilter/nft_hash.c, Linux 6.18).
"""

_MASK = 0xFFFFFFFF
_INITVAL = 0xDEADBEEF  # JHASH_INITVAL, include/linux/jhash.h


def _rol(word: int, shift: int) -> int:
    return (word << shift | word >> (32 - shift)) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c & _MASK) ^ _rol(c, 4)
    c = c + b & _MASK
    b = (b - a & _MASK) ^ _rol(a, 6)
    a = a + c & _MASK
    c = (c - b & _MASK) ^ _rol(b, 8)
    b = b + a & _MASK
    a = (a - c & _MASK) ^ _rol(c, 16)
    c = c + b & _MASK
    b = (b - a & _MASK) ^ _rol(a, 19)
    a = a + c & _MASK
    c = (c - b & _MASK) ^ _rol(b, 4)
    b = b + a & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rol(b, 14) & _MASK
    a = (a ^ c) - _rol(c, 11) & _MASK
    b = (b ^ a) - _rol(a, 25) & _MASK
    c = (c ^ b) - _rol(b, 16) & _MASK
    a = (a ^ c) - _rol(c, 4) & _MASK
    b = (b ^ a) - _rol(a, 14) & _MASK
    return (c ^ b) - _rol(b, 24) & _MASK


def jhash(data: bytes, seed: int) -> int:
    """Return jhash(data, len(data), seed), 0..2^32-1 (include/linux/jhash.h, little-endian)."""
    a = b = c = _INITVAL + len(data) + seed & _MASK
    at = 0
    while len(data) - at > 12:
        a = a + int.from_bytes(data[at : at + 4], "little") & _MASK
        b = b + int.from_bytes(data[at + 4 : at + 8], "little") & _MASK
        c = c + int.from_bytes(data[at + 8 : at + 12], "little") & _MASK
        a, b, c = _mix(a, b, c)
        at += 12
    if at == len(data):
        return c  # only empty data: the loop leaves 1 to 12 bytes of anything else
    a = a + int.from_bytes(data[at : at + 4], "little") & _MASK
    b = b + int.from_bytes(data[at + 4 : at + 8], "little") & _MASK
    c = c + int.from_bytes(data[at + 8 : at + 12], "little") & _MASK
    return _final(a, b, c)


def scaled(data: bytes, seed: int, mod: int) -> int:
    """Return what `jhash DATA mod MOD seed SEED` is in nft, 0..mod-1."""
    return jhash(data, seed) * mod >> 32
