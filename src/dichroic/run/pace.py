"""How much of a fit is done, in time: reckoned from the laps that were made."""

from collections.abc import Mapping, Sequence
from typing import Any

from dichroic.em import Stage
from dichroic.em.passes import CLOCKS, PASSES, Pass
from dichroic.run.separating import expected_draws
from dichroic.settings import FitConfig

__all__ = ["Pace"]


class Pace:
    """Shares of the time of a fit, from its first draws to the separation of what was held out.

    A lap takes what the last one of its kind took, as its record says: draws from pure noise take more steps than
    those that go on from the lap before. The first lap is compiled, too, and counts as long as there is no other.
    Laps that come to be left out, because nothing got better, are counted until then.

    **Arguments:** `held_out`, whether observations are to be separated in the end.
    """

    def __init__(self, config: FitConfig, plan: Sequence[Stage], held_out: bool):
        self.config, self.plan, self.held_out = config, plan, held_out

    def done(
        self, records: Sequence[Mapping[str, Any]], stage: int, lap: int, parts: Mapping[str, Mapping[str, float]]
    ) -> float:
        """The share that is done, between 0 and 1, the separation at the end not begun.

        **Arguments:** `records`, of the laps made; `stage` and `lap`, of the one that is being made; `parts`, of its
        passes by name, the share done of each source or view.
        """
        spent = sum(sum(_seconds(record).values()) for record in records)
        current, left = self.expected(records, lap), self.separation(records)
        for number, planned in enumerate(self.plan):
            first = lap if number == stage else 0 if number > stage else None
            if first is not None:
                laps = range(first, self.config.laps_of(planned.name) + 1)
                left += sum(sum(self.expected(records, k).values()) for k in laps)
        within = 0.0
        for clock in CLOCKS:
            # what trains, if it is made, weighs as much as a draw
            work = {e.name: self._cost(e, lap) or float(e.name in parts) for e in PASSES if e.clock == clock}
            done = sum(w * sum(parts[e].values()) / len(parts[e]) for e, w in work.items() if parts.get(e))
            within += current[clock] * done / (sum(work.values()) or 1.0)
        total = spent + left
        return min(spent + min(within, left), total) / total if total > 0 and spent > 0 else 0.0

    def expected(self, records: Sequence[Mapping[str, Any]], lap: int) -> dict[str, float]:
        """Seconds that a lap will take, by phase."""
        made = [(int(record.get("lap", 0)), _seconds(record)) for record in records]
        # not those that were compiled, where there are others
        measured = [m for m in made if m[0] > 1] or [m for m in made if m[0] > 0]
        if not measured:  # training, of which nothing is known, may well take what the first draws took
            first: dict[str, float] = made[-1][1] if made else dict.fromkeys(CLOCKS, 0.0)
            return {**first, "m_step": first["e_step"] if lap else 0.0}
        same = [m for m in measured if self._is_cold(m[0]) == self._is_cold(lap)]
        number, seconds = (same or measured)[-1]
        training = dict.fromkeys(CLOCKS, 0.0) | (measured[-1][1] if lap else {})
        draws = {clock: self._draws(clock, number) for clock in CLOCKS}
        return training | {c: seconds[c] * self._draws(c, lap) / n for c, n in draws.items() if n}

    def separation(self, records: Sequence[Mapping[str, Any]]) -> float:
        """Seconds that the separation at the end will take."""
        once = self.expected(records, 1)["held_out"] / self._draws("held_out", 1)
        return expected_draws(self.config.draws, self.config.mean_share) * once if self.held_out else 0.0

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
