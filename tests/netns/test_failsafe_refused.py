"""A store that refuses what it is asked, or has forgotten what it knew, under failsafe."""

from functools import partial
from pathlib import Path

import pytest

from tests.netns.cast import Agents, clients_of, pinging
from tests.netns.conftest import LabUp
from tests.netns.support import sampled, shell, until
from tests.netns.test_etcd_faults import (
    PASSWORD,
    REFUSALS,
    Etcd,
    answered,
    over_etcd,
    with_users,
    write_right,
)
from tests.netns.test_failover import LONG_S, even, once, two_each, with_lease
from tests.netns.test_failsafe import carried, failsafe, kill, outage, start, watching
from vipnft.model import StoreLoss


def change_password(password: str, etcd: Etcd) -> None:
    """With it go all tokens that were given for the old one."""
    assert "code" not in etcd.ask("auth/user/changepw", name="vip", password=password)


def take_role(etcd: Etcd) -> None:
    assert "code" not in etcd.ask("auth/user/revoke", name="vip", role="vips")


def give_role(etcd: Etcd) -> None:
    assert "code" not in etcd.ask("auth/user/grant", user="vip", role="vips")


REFUSED = REFUSALS | {
    "another password": (
        partial(change_password, "another"),
        partial(change_password, PASSWORD),
    ),
    "role revoked": (take_role, give_role),
}


@pytest.mark.parametrize("refusal", sampled(REFUSED, "no space", "role revoked"))
def test_a_store_that_refuses_is_as_one_that_is_away(
    lab_up: LabUp, tmp_path: Path, refusal: str
) -> None:
    """A line when promises carry it, one a minute, and one when it is over."""
    lab = lab_up(hosts=2)
    etcd = Etcd(lab, tmp_path, 1, "--quota-backend-bytes=3000000")
    if refusal != "no space":
        with_users(etcd)
        etcd.login = f"vip:{PASSWORD}@"
        write_right(etcd, "READWRITE")
    refuse, give = REFUSED[refusal]
    with_lease(lab, LONG_S)
    with over_etcd(lab, tmp_path, on_store_loss=StoreLoss.FAILSAFE, etcd=etcd) as (cast, _):
        before = {host: len(cast.log(host).splitlines()) for host in lab.hosts}
        with watching(), pinging(lab, tmp_path, two_each(cast)) as heard:
            outage(cast, heard, partial(refuse, etcd), partial(give, etcd))
        once(heard)
        assert heard.lost() == {}
        for host in lab.hosts:
            said = cast.log(host).splitlines()[before[host] :]
            told = [line for line in said if "late" not in line]
            assert len(told) == 2, told


def test_all_members_are_restored_from_an_old_backup(lab_up: LabUp, tmp_path: Path) -> None:
    lab = lab_up(hosts=4)
    with failsafe(lab, tmp_path, 3) as (cast, etcd):
        kill(etcd)
        shell(lab, "router", f"cd {tmp_path} && mkdir old && cp -a m0 m1 m2 old/")
        start(etcd)
        shell(lab, "web1", f"vipnft drain web3 --store {etcd.url}")
        until(lambda: cast.owned() == [86, 85, 0, 85] or sorted(cast.owned())[0] == 0)
        with pinging(lab, tmp_path, two_each_of(cast)) as heard:
            kill(etcd)
            carried(cast, "web1")
            shell(lab, "router", f"cd {tmp_path} && rm -rf m0 m1 m2 && cp -a old/* .")
            start(etcd)
            until(lambda: answered(lab), what="the service")
            even(cast)  # as the backup has it
        once(heard)


def two_each_of(cast: Agents) -> list[str]:
    return [
        c
        for one in cast.look().values()
        if one["owned"]
        for c in clients_of(cast.lab, one["owned"], 2)
    ]
