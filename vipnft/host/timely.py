"""Does a change of the table leave a lease enough time? Pure.

Rule 1: what counts is the processor's time that it took: how busy a machine is at the moment of the
        question says nothing of how it is when hosts fail.
Rule 2: of a lease, a beat's period and a call to the store are not for changes.
"""

import math

from vipnft.errors import UsageError
from vipnft.model import Cluster


def untimely(cluster: Cluster, seconds: float) -> UsageError | None:
    """Return why a cluster's lease can't be held through a change that takes so many seconds of a
    processor; None if it can."""
    agents = cluster.agents
    left = agents.lease - agents.beat - agents.lease / 4
    if seconds <= left:
        return None
    enough = math.ceil(seconds * agents.lease / left)
    return UsageError(
        f"with {cluster.buckets} buckets a change of the table takes this machine {seconds:.2f} s,"
        f" and a lease of {agents.lease:g} s leaves {left:.2f} s for it",
        fix=f'give [cluster] fewer buckets, or lease = "{enough}s" (and a beat of a fifth of it)',
    )
