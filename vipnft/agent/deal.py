"""How clients become buckets, as agents tell each other through the store.

Rule 1: who reads the store learns nothing of seed or secret: it is a digest keyed by the secret;
        without one by so much work that all seeds of 32 bits can't be tried in passing.
"""

import functools
import hashlib
import hmac

from vipnft.model import Cluster

_WORK = {"n": 2**14, "r": 8, "p": 1}  # 16 MiB, and some 50 ms a guess


def deal(cluster: Cluster) -> str:
    """Return what two clusters have in common where their clients meet the same buckets."""
    return _digest(cluster.name, f"{cluster.seed:#x}/{cluster.buckets}", cluster.salt)


@functools.lru_cache(maxsize=4)
def _digest(name: str, dealt: str, salt: bytes) -> str:
    if salt:
        return hmac.new(salt, dealt.encode(), "sha256").hexdigest()
    return hashlib.scrypt(dealt.encode(), salt=name.encode(), dklen=32, **_WORK).hex()
