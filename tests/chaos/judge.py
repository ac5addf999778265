"""Which fault explains a question that was not answered? Pure: what was seen, in; a verdict, out.

Rule 1: a fault explains its own hosts' clients, from its begin until those hosts have beaten twice
        since its end, and no others'. Whose a client was, the tables say, and who answered last.
Rule 2: under `hold` no fault of the store leaves clients without an answer, but of who was giving
        buckets just then, and of those buckets. Nor does it under `failsafe`, unless some host
        could not promise.
Rule 3: a bucket that moves is without an answer for a moment: its own clients alone.
Rule 4: what nothing explains is a failure; so is a bucket that is given to who does not beat.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.scene import Seen
from tests.chaos.traffic import Ledger, Question
from tests.netns.support import PACE
from vipnft.lab import plan
from vipnft.model import StoreLoss

# On a machine that is so many times slower, what takes an agent its time does too.
NEVER_BACK_S = 30.0 * PACE
"""For how long after a fault a host may take to beat again, in seconds."""
TAIL_S = 0.5 * PACE
"""For how long a host that beats again may not serve yet, in seconds."""
_AROUND_S = 1.0 * PACE  # the onlooker may see a table so much later than hosts do
_MOVE_S = 0.75 * PACE  # around the moment at which a table was seen that moves a bucket
_BEATS = 15  # of another host meanwhile: three leases; with fewer the store was away
_NEAR_S = 4.0
_GIVEN_S = 3.0 * PACE  # for how long before a table is seen its writer may have begun to give


Window = tuple[str, frozenset[str], float, float]
"""What explains unanswered questions: its kind, whose, from when and until when."""


@dataclass(frozen=True)
class Done:
    """A fault that was: see faults.Fault; times are monotonic, in seconds."""

    kind: str
    hosts: tuple[str, ...]
    begin: float
    end: float
    store: bool = False
    tail: float = TAIL_S
    apart: bool = False


@dataclass
class Verdict:
    """`explained`: unanswered questions by what explains them; `unexplained`, and buckets `given`
    to hosts that did not beat, as lines; `around`: what went on around either; `moves`: how often
    a bucket changed hands."""

    asked: int = 0
    unanswered: int = 0
    double: list[Question] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    around: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    moves: int = 0


class Judge:
    """Judges what was seen between `began` and the end of a run."""

    def __init__(
        self,
        seen: Seen,
        faults: Sequence[Done],
        *,
        loss: StoreLoss,
        lease: float,
        began: float,
        late: float = 0.0,
    ) -> None:
        self._seen, self._loss, self._lease = seen, loss, lease
        self._began, self._move, self._faults = began, _MOVE_S + late, faults
        self._hosts = sorted(seen.beats)
        self._names = {plan.host_mac(n): plan.host_name(n) for n in range(1, plan.NEAR)}
        self._times = [at for at, _ in seen.tables]
        starved = [*self._starved()]
        windows = (*self._from(faults), *self._cut_short(faults), *starved)
        if loss == "failsafe":
            windows += (*self._unpromised(faults, starved),)
        self._windows = sorted(windows, key=lambda window: -window[2])
        self._moves = self._moved()
        self._unheard = self._given_unheard()

    def verdict(self, ledger: Ledger) -> Verdict:
        """Return what is to be said of all questions."""
        found = Verdict(
            asked=ledger.asked.total(),
            unanswered=len(ledger.unanswered),
            double=ledger.double,
            moves=sum(map(len, self._moves.values())),
        )
        for at, line in self._given():
            found.given.append(line)
            found.around += self._around(at)
        moments: list[list[tuple[float, set[str]]]] = []
        for question in ledger.unanswered:
            whose = self._whose(question, ledger)
            if kind := self._explained(question, whose):
                found.explained[kind] += 1
                continue
            found.unexplained.append(self._line(question, whose))
            if not moments or question.asked > moments[-1][0][0] + _NEAR_S:
                moments.append([])
            moments[-1].append((question.asked, whose))
        for moment in moments:
            hosts = sorted(set[str]().union(*(whose for _, whose in moment)))
            last = max(asked for asked, _ in moment) - self._began
            found.around.append(f"{len(moment)} until {last:.2f} s, of {', '.join(hosts)}:")
            found.around += self._around(moment[0][0])
        return found

    def _around(self, at: float) -> Iterator[str]:
        """Yield when that was, what was going on, and what all agents said."""
        yield f"around {at - self._began:.2f} s:"
        for fault in self._faults:
            if fault.begin - _NEAR_S < at < fault.end + _NEAR_S:
                span = f"{fault.begin - self._began:.2f} to {fault.end - self._began:.2f} s"
                yield f"{span}: {fault.kind}, {' '.join(fault.hosts)}"
        for when, host, line in self._seen.notes:
            if abs(when - at) < _NEAR_S:
                yield f"{when - self._began:.2f} s: {host} says: {line}"

    def _from(self, faults: Sequence[Done]) -> Iterator[Window]:
        for fault in faults:
            if fault.store and self._loss is not StoreLoss.FENCE:
                continue
            for host in fault.hosts:
                until = self._back(host, fault.end) + fault.tail
                yield fault.kind, frozenset({host}), fault.begin, until

    def _back(self, host: str, end: float) -> float:
        return min(self._seen.beaten_since(host, end) or end + NEVER_BACK_S, end + NEVER_BACK_S)

    def _unpromised(self, faults: Sequence[Done], starved: Sequence[Window]) -> Iterator[Window]:
        """While the store is away and one host can't promise, all are silent who ask it."""
        lacking = [
            (fault.kind, fault.begin, self._all_back(fault.hosts, fault.end) + fault.tail)
            for fault in faults
            if not fault.store and (fault.hosts or fault.apart)
        ]
        lacking += [(kind, begin, until) for kind, _, begin, until in starved]
        for away in faults:
            until = self._all_back(away.hosts, away.end) + away.tail
            for kind, begin, end in lacking if away.store else ():
                if max(begin, away.begin) < min(end, until):
                    both, hosts = f"{away.kind}, and {kind}", frozenset(away.hosts)
                    yield both, hosts, max(begin, away.begin), max(end, until)

    def _all_back(self, hosts: Sequence[str], end: float) -> float:
        return max((self._back(host, end) for host in hosts), default=end)

    def _cut_short(self, faults: Sequence[Done]) -> Iterator[Window]:
        """Who was giving buckets when the store went away can't take them back: nobody knows
        whether that was written."""
        away = [fault for fault in faults if fault.store]
        for at, host, line in self._seen.notes:
            if "giving " not in line:
                continue
            for fault in away:
                if fault.begin - _GIVEN_S < at < fault.end + _GIVEN_S:
                    until = self._back(host, max(at, fault.end)) + TAIL_S
                    yield f"a move cut short: {fault.kind}", frozenset({host}), at - TAIL_S, until

    def _starved(self) -> Iterator[Window]:
        for host, begin, until in self._seen.starved:
            whose = frozenset({host} if host else self._hosts)
            back = self._back(host, until) if host else until + self._lease
            yield "no processor for a process", whose, begin, back + TAIL_S

    def _moved(self) -> dict[int, list[float]]:
        """Return when each bucket changed hands."""
        found: dict[int, list[float]] = {}
        for (_, before), (at, owners) in zip(
            self._seen.tables, self._seen.tables[1:], strict=False
        ):
            for bucket, (old, new) in enumerate(zip(before, owners, strict=True)):
                if old != new:
                    found.setdefault(bucket, []).append(at)
        return found

    def _given_unheard(self) -> dict[int, list[tuple[float, float]]]:
        """Return when buckets may have been nobody's, for their next owner had not heard of it yet
        when the store went away: its kernel serves the rest meanwhile."""
        away = [fault for fault in self._faults if fault.store]
        found: dict[int, list[tuple[float, float]]] = {}
        owners = dict(self._seen.tables)
        for bucket, moves in self._moves.items():
            for at in moves:
                for fault in away:
                    if fault.begin - _GIVEN_S < at < fault.end + _GIVEN_S:
                        until = self._back(owners[at][bucket], max(at, fault.end)) + TAIL_S
                        found.setdefault(bucket, []).append((at, until))
        return found

    # Questions.

    def _whose(self, question: Question, ledger: Ledger) -> set[str]:
        """Return every host that may have been the bucket's then."""
        first = max(0, bisect_right(self._times, question.asked - _AROUND_S) - 1)
        last = bisect_right(self._times, question.asked + _AROUND_S)
        whose = {o[question.bucket] for _, o in self._seen.tables[first : max(last, first + 1)]}
        served = ledger.served.get(question.bucket, [])
        place = bisect_left([at for at, _ in served], question.asked)
        if place:
            whose.add(self._names.get(served[place - 1][1], "?"))
        return whose

    def _explained(self, question: Question, whose: set[str]) -> str:
        for kind, hosts, begin, until in self._windows:  # the latest first
            if begin <= question.asked <= until and hosts & whose:
                return kind
        if any(
            abs(at - question.asked) < self._move for at in self._moves.get(question.bucket, [])
        ):
            return "a bucket that moved"
        unheard = self._unheard.get(question.bucket, [])
        if any(begin <= question.asked <= until for begin, until in unheard):
            return "a bucket given as the store went away"
        return ""

    def _line(self, question: Question, whose: set[str]) -> str:
        return (
            f"{question.asked - self._began:.2f} s: {question.kind} of bucket {question.bucket},"
            f" of {', '.join(sorted(whose))}"
        )

    # What was given.

    def _given(self) -> Iterator[tuple[float, str]]:
        """Yield when buckets were given to hosts that had not beaten for long, though others had,
        and to whom."""
        for (_, before), (at, owners) in zip(
            self._seen.tables, self._seen.tables[1:], strict=False
        ):
            for host in {new for old, new in zip(before, owners, strict=True) if old != new}:
                beats = self._seen.beats.get(host, [])
                place = bisect_right(beats, at)
                last = beats[place - 1] if place else float("-inf")
                most = max(
                    bisect_right(others, at) - bisect_right(others, last)
                    for others in self._seen.beats.values()
                )
                if at - last > 2 * self._lease + _AROUND_S and most > _BEATS:
                    when, silent = f"{at - self._began:.2f} s", f"{at - last:.1f} s"
                    yield at, f"{when}: given to {host}, silent for {silent}"
