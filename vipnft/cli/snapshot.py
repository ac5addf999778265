"""The verb that writes what can be seen of a host without an agent: snapshot."""

from vipnft.cli.options import DEFAULT_CONFIG, Config
from vipnft.cli.output import say


def snapshot(config: Config = DEFAULT_CONFIG) -> None:
    """Write what can be seen of this host once a second, until stopped; for hosts without agents.

    An agent does it by itself, and then nothing is written here. `vipnft serve` and
    `vipnft status --check` read it.
    """
    import signal
    import threading

    from vipnft.cli.status import stale
    from vipnft.errors import VipnftError
    from vipnft.host import locks, published
    from vipnft.host.onlooker import PERIOD_S, Onlooker
    from vipnft.host.preflight import require_privileged

    require_privileged()
    onlooker, said = Onlooker(lambda applied: stale(config, applied)), ""
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    while not end.is_set():
        try:
            onlooker.write()
            said = ""
        except (VipnftError, OSError) as error:
            if str(error) != said:
                said = str(error)
                say(f"WARNING: what can be seen of this host is old: {said}", error=True)
        end.wait(PERIOD_S)
    if not locks.tended():
        published.forget()
