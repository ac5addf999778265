"""A snapshot to look at."""

import json
from collections import Counter

from tests.unit.observe.test_cluster_report import SNAPSHOT
from tests.unit.observe.test_status_report import facts
from vipnft.agreement.records import Standing
from vipnft.observe import cluster_report, snapshot, status_report
from vipnft.observe.events import Event
from vipnft.observe.figures import Figures
from vipnft.observe.snapshot import AgentState, Promised, Stamp
from vipnft.ruleset.stage import StageFacts

STAMP = Stamp(version="1.2", time=1.7e9, boottime=1000.0, period=1.0)
AGENT = AgentState(
    standing=Standing.SERVING,
    since=1.6e9,
    config="ab" * 32,
    lease=1.0,
    left=0.8,
    on_store_loss="failsafe",
    store="etcd",
    away=0.0,
    checks=(("http 192.0.2.100:80/", ""), ("exec ...", "exec ...: status 1")),
    hearing=True,
    promises=Promised(unheard=("web3",)),
)
EVENT = Event(7, 1.65e9, "takeover", "took over from web3: silent for 1.20 s")


def written(
    agent: AgentState | None = AGENT, why: tuple[str, ...] = (), stage: StageFacts | None = None
) -> str:
    """Return a snapshot as it is written; without an agent as a timer writes it."""
    figures = Figures(requests=Counter(done=10, refused=1, failed=2))
    figures.beat.note(0.004)
    figures.request.note(9.0)
    head = snapshot.document(STAMP, agent, why)
    stages = {"eth0": stage} if stage else None
    status = json.dumps(status_report.document(facts(stages=stages)))
    if agent is None:
        return snapshot.text(head, (), None, status=status, cluster="null")
    cluster = cluster_report.document(cluster_report.build("dns", SNAPSHOT, {"web1"}))
    return snapshot.text(
        head,
        [EVENT],
        figures.document({"takeover": 1, "note": 0}),
        status=status,
        cluster=json.dumps(cluster),
    )
