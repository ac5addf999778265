"""The verb that tells whether this machine is fit: check."""

import os

import typer

from vipnft.cli.options import DEFAULT_CONFIG, Config, HostName, here, load
from vipnft.cli.output import say


def check(
    config: Config = DEFAULT_CONFIG,
    host: HostName = "",
) -> None:
    """Check the cluster file, then this machine: a line each, with the fix."""
    from vipnft.host import checkup, knock
    from vipnft.host.preflight import Grade

    cluster = load(config)
    name = here(cluster, host)
    say(f"{Grade.OK:<5} {config}: cluster {cluster.name!r}, {len(cluster.hosts)} hosts")
    agents = cluster.agents
    found = [
        *checkup.secrecy(config.stat().st_mode, config),
        *checkup.store(agents.store, agents.password_file),
        *checkup.machine(cluster, name),
        *(knock.findings(cluster, name) if os.geteuid() == 0 else ()),
    ]
    for finding in found:
        say(f"{finding.grade:<5} {finding.what}")
        if finding.fix:
            say(f"      fix: {finding.fix}")
    if any(finding.grade is Grade.FAIL for finding in found):
        raise typer.Exit(1)
