"""Agents on the hosts of a lab, so that a newcomer can kill a host and watch."""

from dataclasses import replace
from pathlib import Path

from vipnft.config.writer import render
from vipnft.lab import state
from vipnft.lab.lab import Lab


def start(lab: Lab, url: str = "") -> Path:
    """Start an agent on every host, and return the directory of their logs.

    `url` is their store; without one, a file that goes with the lab. The lab's cluster file
    names it from now on.
    """
    home = state.agents_home(lab.name)
    home.mkdir(exist_ok=True)
    cluster = lab.cluster
    agents = replace(cluster.agents, store=url or f"sqlite://{home}/store.db")
    lab.config.write_text(render(replace(cluster, agents=agents)))
    for host in lab.hosts:
        with (home / f"{host}.log").open("ab") as log:
            lab.popen(host, ["vipnft", "agent", f"--{lab.mode}"], stdout=log, stderr=log)
    return home
