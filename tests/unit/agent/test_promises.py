"""Promises over real sockets, on addresses of the loopback."""

import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from vipnft.agent.answers import Answers
from vipnft.agent.promises import Promises, _Calls
from vipnft.agreement.datagrams import Datagram, Kind
from vipnft.agreement.effects import Ask
from vipnft.agreement.promises import Ground
from vipnft.agreement.records import Contact

LONG_S = 20.0  # what nothing here is to take
HOSTS = {"a": "127.0.0.2", "b": "127.0.0.3", "c": "127.0.0.4"}
SECRETS = {"a": "aa" * 16, "b": "bb" * 16, "c": "cc" * 16}
PORT = 5520


@contextmanager
def living(*hosts: str, **grounds: Ground) -> Iterator[dict[str, Promises]]:
    """Have hosts that know each other, and promise all unless told otherwise."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free, ExitStack() as stack:
        free.bind(("", 0))
        found = {host: Promises(host, free.getsockname()[1]) for host in hosts}
        free.close()
        for host, one in found.items():
            stack.enter_context(one)
            one.look([HOSTS[host]])
            assert not one.why
        contacts = {host: one.contact for host, one in found.items() if one.contact}
        for host, one in found.items():
            known = {other: contact for other, contact in contacts.items() if other != host}
            one.stand(grounds.get(host) or Ground(willing=True, contacts=known))
        yield found


def where(one: Promises) -> Contact:
    assert one.contact
    return one.contact


def question(*hosts: Promises) -> Ask:
    return Ask({one._me: where(one) for one in hosts}, 7, "ab" * 16)


def test_who_asks_gets_the_promises_of_all() -> None:
    with living(*HOSTS) as hosts:
        a, b, c = hosts.values()
        before = time.monotonic()
        assert a.ask(question(b, c), LONG_S) == {"b", "c"}
        assert time.monotonic() - before < LONG_S / 2, "waited though all had answered"
        for one in (b, c):
            promised = one.stand(Ground())
            assert promised.keys() == {"a"}
            assert before < promised["a"] < time.monotonic()


def test_whether_one_would_promise_binds_nobody() -> None:
    with living(*HOSTS) as hosts:
        a, b, c = hosts.values()
        asked = replace(question(b, c), firm=False)
        assert a.ask(asked, LONG_S) == {"b", "c"}
        c.stand(Ground(contacts={"a": where(a)}))
        assert a.ask(asked, LONG_S) == {"b"}
        assert b.stand(Ground()) == c.stand(Ground()) == {}


def test_who_may_not_promise_refuses_at_once() -> None:
    with living(*HOSTS) as hosts:
        a, b, c = hosts.values()
        b.stand(Ground(willing=False, contacts={"a": where(a)}))
        before = time.monotonic()
        assert a.ask(question(b, c), LONG_S) == {"c"}
        assert time.monotonic() - before < LONG_S / 2
        assert b.stand(Ground()) == {}


def test_a_host_that_is_not_there_costs_the_time_that_there_is() -> None:
    with living("a", "b") as hosts:
        a, b = hosts.values()
        asked = question(b)
        nobody = Contact(("127.0.0.9", "2001:db8::1"), where(b).port, SECRETS["c"])
        both = Ask({**asked.contacts, "c": nobody}, 7, "")
        assert a.ask(both, 0.3) == {"b"}


def test_another_life_of_that_name_is_promised_nothing() -> None:
    with living("a", "b") as hosts:
        a, b = hosts.values()
        other = Contact(where(a).addresses, where(a).port, SECRETS["c"])
        b.stand(Ground(willing=True, contacts={"a": other}))
        assert a.ask(question(b), 0.3) == frozenset()
        assert b.stand(Ground()) == {}


def test_nothing_counts_of_what_an_outsider_sends() -> None:
    """Noise, and all that he recorded, to both: the next question is answered as ever."""
    with living("a", "b") as hosts, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        a, b = hosts.values()
        forged = Datagram(
            kind=Kind.QUESTION, sender="a", receiver="b", counter=9, nonce=bytes(8)
        ).sealed(SECRETS["a"], SECRETS["b"])
        noise = [b"", b"x" * 2000, bytes(300), forged, forged[:-1], forged.swapcase()]
        for data, to in itertools.product(noise, (a, b)):
            evil.sendto(data, (where(to).addresses[0], where(to).port))
        assert b.stand(b._answers.ground) == {}
        assert a.ask(question(b), LONG_S) == {"b"}


def test_a_promise_is_good_for_its_own_question_alone() -> None:
    """Whatever b once said to a is worth nothing later, nor is what c says, or an inquiry's."""
    with living("a") as hosts, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
        (a,) = hosts.values()
        b.bind((HOSTS["b"], 0))
        contact = Contact((HOSTS["b"],), b.getsockname()[1], SECRETS["b"])
        kept: list[Datagram] = []

        def answer(made: Callable[[Datagram], list[Datagram]]) -> frozenset[str]:
            """Ask b, who says what is made of the question; return who promised."""

            def say() -> None:
                said = Datagram.load(b.recv(2048))
                assert said
                kept.append(said)
                for one in made(said):
                    sealed = one.sealed(where(a).secret, SECRETS["b"])
                    b.sendto(sealed, (where(a).addresses[0], where(a).port))

            other = threading.Thread(target=say)
            other.start()
            found = a.ask(Ask({"b": contact}, 7, ""), 0.3)
            other.join()
            while select.select([b], [], [], 0)[0]:
                b.recv(2048)  # the same question, again
            return found

        assert answer(lambda said: [said.answer(Kind.PROMISE)]) == {"b"}
        former = kept[0].answer(Kind.PROMISE)
        nothing = frozenset[str]()
        assert answer(lambda _: [former]) == nothing
        assert answer(lambda said: [replace(former, counter=said.counter)]) == nothing
        assert answer(lambda said: [replace(former, nonce=said.nonce)]) == nothing
        assert answer(lambda said: [replace(said.answer(Kind.PROMISE), sender="c")]) == nothing
        assert answer(lambda said: [said.answer(Kind.WOULD)]) == nothing
        assert answer(lambda said: [former, said.answer(Kind.PROMISE)]) == {"b"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def of_a(counter: int, kind: Kind = Kind.QUESTION) -> tuple[Datagram, bytes]:
    said = Datagram(
        kind=kind, sender="a", receiver="b", counter=counter, nonce=bytes(8), version=7, part=""
    )
    return said, said.sealed(SECRETS["a"], SECRETS["b"])


def answering(clock: Clock) -> tuple[Answers, Ground]:
    b = Answers("b", SECRETS["b"], clock)
    ground = Ground(willing=True, contacts={"a": Contact(("127.0.0.2",), PORT, SECRETS["a"])})
    b.stand(ground)
    return b, ground


def test_a_question_counts_once() -> None:
    """Again it gets the same answer, and promises nothing new; an older one gets none."""
    clock = Clock()
    b, ground = answering(clock)
    first = b.answer(*of_a(2))
    assert first
    assert Datagram.load(first) == of_a(2)[0].answer(Kind.PROMISE)
    assert b.stand(ground) == {"a": 100.0}
    clock.now = 200.0
    b.stand(Ground(contacts=ground.contacts))  # promises nothing from now on
    assert b.answer(*of_a(2)) == first
    assert b.answer(*of_a(1)) is None
    assert b.stand(ground) == {"a": 100.0}
    b.answer(*of_a(3))
    assert b.stand(ground) == {"a": 200.0}


def test_a_new_life_counts_anew() -> None:
    b, _ = answering(Clock())
    assert b.answer(*of_a(9))
    b.stand(Ground(willing=True, contacts={"a": Contact(("::1",), PORT, SECRETS["c"])}))
    said, _ = of_a(1)
    answer = b.answer(said, said.sealed(SECRETS["c"], SECRETS["b"]))
    assert answer
    assert Datagram.load(answer) == said.answer(Kind.PROMISE)
    assert b.answer(*of_a(10)) is None, "of the life before"


def test_who_calls_or_knocks_is_promised_nothing() -> None:
    b, ground = answering(Clock())
    assert b.answer(*of_a(1, Kind.CALL))
    knock, _ = of_a(1, Kind.KNOCK)
    assert b.answer(knock, knock.sealed("", SECRETS["b"]))
    assert b.answer(knock, knock.sealed("", SECRETS["c"])) is None
    assert b.stand(ground) == {}


def test_who_misses_two_calls_is_unheard_until_he_echoes() -> None:
    contacts = {host: Contact((address,), PORT, SECRETS[host]) for host, address in HOSTS.items()}
    calls = _Calls()
    for _ in range(2):
        assert calls.unheard() == frozenset()
        one = calls.round(contacts)
        assert set(one.contacts) == set(HOSTS)
        calls.echoed(echo("a", one.counter, one.nonce))
        calls.echoed(echo("b", one.counter - 1, one.nonce))
        calls.echoed(echo("c", one.counter, b"87654321"))
    assert calls.unheard() == {"b", "c"}
    one = calls.round({"a": contacts["a"], "b": contacts["b"]})
    assert calls.unheard() == {"b"}, "one that is gone is nobody's business"
    calls.echoed(echo("b", one.counter, one.nonce))
    assert calls.unheard() == frozenset()


def echo(host: str, counter: int, nonce: bytes) -> Datagram:
    return Datagram(kind=Kind.ECHO, sender=host, receiver="me", counter=counter, nonce=nonce)


def test_of_many_hosts_each_is_called_in_turn() -> None:
    contacts = {f"h{n}": Contact(("::1",), PORT, SECRETS["a"]) for n in range(20)}
    calls = _Calls()
    rounds = [set(calls.round(contacts).contacts) for _ in range(5)]
    assert max(map(len, rounds)) == 8
    assert set.union(*rounds[:3]) == set(contacts)
    assert rounds[0] & rounds[2] == set(sorted(contacts)[:4])


@pytest.mark.parametrize("again", [False, True])
def test_a_port_that_another_program_has_is_told_and_tried_again(again: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOSTS["a"], 0))
        port = other.getsockname()[1]
        with Promises("a", port) as a:
            a.look([HOSTS["a"], HOSTS["b"]])
            assert a.why == f"UDP port {port} at 127.0.0.2 can't be had: Address already in use"
            assert where(a).addresses == (HOSTS["b"],)
            if again:
                other.close()
                a.look([HOSTS["a"], HOSTS["b"]])
                assert where(a).addresses == (HOSTS["a"], HOSTS["b"])
                assert not a.why


def test_who_moves_to_another_address_is_asked_there() -> None:
    with living("a", "b") as hosts:
        a, b = hosts.values()
        for address in (HOSTS["c"], HOSTS["b"]) * 5:
            b.look([address])
            assert where(b).addresses == (address,)
            assert a.ask(question(b), LONG_S) == {"b"}
            assert not b._net._gone, "what is left is closed"
