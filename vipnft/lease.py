# The lease as the kernel keeps it: two slots, each of which counts while it is armed and granted.
# Rule 1: arming takes a timeout, granting none: however long a process pauses between the two,
#         the lease ends in time.
# Rule 2: nft's own language, not JSON: JSON timeouts are whole seconds, and 0.5 there means none
#         at all (measured on nft 1.0.6).
# Rule 3: add, then delete: an element with a timeout may be gone already.
"""Commands of the kernel lease; each string is one transaction."""

_SETS = "netdev vipnft"
_ALWAYS = "{ ether }"  # the type of every interface that packets come in by


def arm(slot: int, milliseconds: int) -> str:
    """Take a slot (0 or 1) out of `granted`, and arm it for a time from now."""
    return "\n".join(
        [
            *_emptied(f"granted{slot}"),
            *_emptied(f"armed{slot}"),
            f"add element {_SETS} armed{slot} {{ ether timeout {milliseconds}ms }}",
        ]
    )


def grant(slot: int) -> str:
    """Let an armed slot count: the host answers until its timeout."""
    return f"add element {_SETS} granted{slot} {_ALWAYS}"


def flush() -> str:
    """Fall silent at once, whatever an earlier life left."""
    return "\n".join(
        f"flush set {_SETS} {name}{slot}" for name in ("granted", "armed") for slot in (0, 1)
    )


def _emptied(name: str) -> list[str]:
    return [f"{verb} element {_SETS} {name} {_ALWAYS}" for verb in ("add", "delete")]
