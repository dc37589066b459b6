"""How much of a fit is done, in time: reckoned from the laps that were made."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from dichroic.em import Stage
from dichroic.em.passes import CLOCKS, PASSES, Pass
from dichroic.run.separating import expected_draws
from dichroic.settings import FitConfig

__all__ = ["Pace", "under_way"]

_LEAST = 0.2  # of the first lap, whatever was compiled in it


class _Even:
    """What goes on at an even pace after a silence, in which it is compiled.

    **Fields:** `seconds`, of the whole at that pace, as far as it was heard; `silence`, before it.
    """

    def __init__(self, begin: float):
        self.begin, self.seconds, self.silence = begin, 0.0, 0.0
        self.first: tuple[float, float] | None = None

    def hear(self, part: float) -> None:
        """A sign: a part is done."""
        now = perf_counter()
        self.first = self.first or (now, part)
        then, before = self.first
        if part > before:
            self.seconds = (now - then) / (part - before)
            self.silence = max(then - self.begin - before * self.seconds, 0.0)


def under_way(expected: float, then: float = 0.0) -> Callable[[float], float]:
    """Something begins that is expected to take some seconds, and others `then`: the seconds that are left when a part
    of it is done, in which what was expected counts less, the more of it is done.
    """
    begin = perf_counter()
    return lambda part: (1 - part) * ((1 - part) * expected + perf_counter() - begin) + then


class Pace:
    """Shares of the time of a fit, from its first draws to the separation of what was held out.

    A lap takes what the last one of its kind took, as its record says: draws from pure noise take more steps than
    those that go on from the lap before. The first lap is compiled, too, and counts as long as there is no other, less
    the silence before its training went on at an even pace, where it was heard.
    How many laps are to come depends on whether they get better; see `last`.

    **Arguments:** `held_out`, whether observations are to be separated in the end; `proofs`, what that of every stage
    takes, in judgements by the law of the mixtures.
    """

    def __init__(self, config: FitConfig, plan: Sequence[Stage], held_out: bool, proofs: Sequence[float] = ()):
        self.config, self.plan, self.held_out = config, plan, held_out
        self.proofs = [*proofs, *[0.0] * (len(plan) - len(proofs))]
        self._begin, self._judgement = 0.0, _Even(0.0)
        self._training: dict[str, _Even] = {}

    def done(
        self, records: Sequence[Mapping[str, Any]], stage: int, lap: int, parts: Mapping[str, Mapping[str, float]]
    ) -> tuple[float, float | None]:
        """The share that is done, between 0 and 1, the separation at the end not begun, and the seconds that are left,
        None where that cannot be known yet.

        **Arguments:** `records`, of the laps made; `stage` and `lap`, of the one that is being made, the one after the
        last where all are; `parts`, of its passes by name, the share done of each source or view.
        """
        if lap == 1:
            self._hear(parts.get("train", {}))
        spent = sum(float(x or 0.0) for record in records for x in (record.get("seconds") or {}).values())
        current, left = self.expected(records, lap), self.end(records, stage)
        kinds: dict[tuple[bool, bool], float] = {}  # seconds of laps, which are of three kinds

        def whole(number: int) -> float:
            kind = (not number, self._is_cold(number))
            if kind not in kinds:
                kinds[kind] = sum(self.expected(records, number).values())
            return kinds[kind]

        for number, planned in enumerate(self.plan):
            first = lap if number == stage else 0 if number > stage else None
            if first is not None:
                some = [record for record in records if record.get("stage") == planned.name]
                last = self.last(some, first, self.config.laps_of(planned.name))
                count, part = divmod(max(last + 1 - first, 0.0), 1)
                following = first + int(count)
                left += sum(map(whole, range(first, following))) + part * whole(following)
        within = 0.0
        for clock in CLOCKS:
            # what trains, if it is made, weighs as much as a draw
            work = {e.name: self._cost(e, lap) or float(e.name in parts) for e in PASSES if e.clock == clock}
            done = sum(w * sum(parts[e].values()) / len(parts[e]) for e, w in work.items() if parts.get(e))
            within += current[clock] * done / (sum(work.values()) or 1.0)
        total, within = spent + left, min(within, left)
        return ((spent + within) / total, left - within) if total > 0 and spent > 0 else (0.0, None)

    def last(self, records: Sequence[Mapping[str, Any]], lap: int, most: int) -> float:
        """The lap that a stage is expected to end with.

        One that is not better than an earlier one is taken for a sign that none will be: the stage ends as many laps
        after the best one as patience has. As long as laps get better, or none is made yet, it may end there or go
        on to its last one, and what lies between the two in ratio is wrong by the least factor either way.
        """
        patience, made = self.config.patience, [record for record in records if record.get("best_lap") is not None]
        if not patience:
            return float(most)
        best = made[-1]["best_lap"] if made else 0
        first, latest = min(best + patience, most), made[-1].get("lap", 0) if made else 0
        if latest > best:
            return float(max(first, min(lap, most)))
        return latest + ((first - latest) * (most - latest)) ** 0.5

    def judging(self) -> Callable[[float], None]:
        """The law of the mixtures is judged, of which the parts that are done are to be told."""
        self._judgement = _Even(perf_counter())
        return self._judgement.hear

    def end(self, records: Sequence[Mapping[str, Any]], stage: int) -> float:
        """Seconds of all that follows the laps of this stage but those of others."""
        return self.after(records, stage) + self.separation(records)

    def after(self, records: Sequence[Mapping[str, Any]], stage: int) -> float:
        """Seconds of the proofs and judgements that follow the laps of this stage and of those after it.

        Proofs are compiled once more, and go on at the pace of the first judgement; where that was not heard, half of
        it was compiling.
        """
        judged = [seconds["law"] for record in records if (seconds := record.get("seconds") or {}).get("law")]
        if not judged:
            return 0.0
        each, proofs = self._judgement.seconds or judged[0] / 2, sum(self.proofs[stage:])
        return each * (1 + proofs) + (max(judged[0] - each, 0.0) if proofs else 0.0)

    def expected(self, records: Sequence[Mapping[str, Any]], lap: int) -> dict[str, float]:
        """Seconds that a lap will take, by phase."""
        made = [(int(record.get("lap", 0)), _seconds(record)) for record in records]
        # not those that were compiled, where there are others
        measured = [m for m in made if m[0] > 1] or [m for m in made if m[0] > 0]
        if measured and measured[-1][0] == 1:
            compiled, silence = measured[-1][1].items(), max((t.silence for t in self._training.values()), default=0.0)
            measured = [(1, {c: max(s - silence, _LEAST * s) for c, s in compiled})]
        if not measured:  # training, of which nothing is known, may well take what all first draws took
            first: dict[str, float] = made[-1][1] if made else dict.fromkeys(CLOCKS, 0.0)
            return {**first, "m_step": sum(first.values()) if lap else 0.0}
        same = [m for m in measured if self._is_cold(m[0]) == self._is_cold(lap)]
        number, seconds = (same or measured)[-1]
        training = dict.fromkeys(CLOCKS, 0.0) | (measured[-1][1] if lap else {})
        draws = {clock: self._draws(clock, number) for clock in CLOCKS}
        return training | {c: seconds[c] * self._draws(c, lap) / n for c, n in draws.items() if n}

    def separation(self, records: Sequence[Mapping[str, Any]]) -> float:
        """Seconds that the separation at the end will take; means of closed forms, if no lap is better, are exact."""
        once = self.expected(records, 1)["held_out"] / self._draws("held_out", 1)
        closed = bool(records) and records[-1].get("best_lap") == 0
        draws = self.config.draws if closed else expected_draws(self.config.draws, self.config.mean_share)
        return draws * once if self.held_out else 0.0

    def _hear(self, parts: Mapping[str, float]) -> None:
        """A sign of the first lap: the parts of its training that are done, none when it begins."""
        self._begin = self._begin if parts else perf_counter()
        for source, part in parts.items():
            if part:
                self._training.setdefault(source, _Even(self._begin)).hear(part)

    def _is_cold(self, lap: int) -> bool:
        return lap <= self.config.sampling.cold_laps

    def _draws(self, clock: str, lap: int) -> float:
        """Cost of the draws of a lap that count for a clock, in those from pure noise."""
        return sum(self._cost(each, lap) for each in PASSES if each.clock == clock)

    def _cost(self, each: Pass, lap: int) -> float:
        (cold, warm), (fresh, continued) = self.config.sampling.runs, each.shares(lap, self.config.sampling)
        return each.draws * (fresh + continued * warm / cold)


def _seconds(record: Mapping[str, Any]) -> dict[str, float]:
    found = record.get("seconds") or {}
    return {phase: float(found.get(phase) or 0.0) for phase in CLOCKS}
