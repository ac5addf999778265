"""What a packet costs on each host, in CPU seconds, where all that serve tell of their CPU.

How a host's load is spread over its buckets, packets say; how much all of it is, CPU does.

Rule 1: CPU counts where every host that serves, and has measured for long enough, tells of it; else
        all is weighed by packets, as everywhere.
Rule 2: what a host spends without being asked is not its buckets': the fewer packets there are, the
        more a host is taken for as good as the others.
Rule 3: no host is taken for dearer or cheaper than FARTHEST times what is usual: giving buckets
        away does not help who spends on something else, nor taking them who tells nonsense.
"""

from collections.abc import Collection, Mapping

from vipnft.agreement.loads import Load

IDLE = 50.0
"""Packets a second of all hosts together, beside which what is measured begins to count."""
FARTHEST = 4.0
"""How many times the usual a packet may cost more, or less."""


def untold(loads: Mapping[str, Load], able: Collection[str]) -> list[str]:
    """Return which of the hosts that serve could tell of CPU by now, and don't."""
    return sorted(h for h in able if h in loads and loads[h].is_known and loads[h].spent is None)


def costs(loads: Mapping[str, Load], able: Collection[str]) -> Mapping[str, float]:
    """Return what a packet costs on each host; nothing where that does not count. Who is new is
    taken for one like the others."""
    spent = {host: load.spent for host, load in loads.items() if load.spent and load.is_known}
    telling = [spent[host] for host in able if host in spent]
    ranked = sorted(one.cpu / one.packets for one in telling if one.packets)
    usual = ranked[(len(ranked) - 1) // 2] if ranked else 0.0
    if untold(loads, able) or not usual:
        return {}
    idle = IDLE / len(able)
    each = {h: (one.cpu + usual * idle) / (one.packets + idle) for h, one in spent.items()}
    low, high = usual / FARTHEST, usual * FARTHEST
    return dict.fromkeys(loads, usual) | {h: min(max(c, low), high) for h, c in each.items()}
