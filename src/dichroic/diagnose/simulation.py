r"""Simulation-based calibration, with the learned priors and the user's own operators.

The model is generative, so truths can be had for nothing: :math:`x^* \sim \prod_s p_s`, :math:`y^* = A x^* + n`, and
the posterior sampler is asked for draws given :math:`y^*`. The rank of any number :math:`f(x^*, y^*)` among those of
the draws is uniform if the sampler is exact, whether or not the priors are any good (Talts et al. 2018, arXiv
1804.06788; numbers that depend on the data too: Modrák et al. 2023, arXiv 2211.02383). One simulation serves two
checks:

* `sbc`: fluxes, powers, leading components and random directions of every source, the difference of fluxes, and the
  residual;
* `tarp`: the distance to a random reference (Lemos et al. 2023, arXiv 2302.03026), which sees all sources at once.
"""

from collections.abc import Callable, Mapping

import numpy as np

from dichroic.diagnose.case import Case, Report, Simulated, flat
from dichroic.diagnose.ranks import RankCounter, normal_scores, score_tests
from dichroic.diagnose.result import Question, Result, conclude

__all__ = ["ranks_of_simulations", "sbc", "tarp"]

_COMPONENTS, _DIRECTIONS = 2, 2
_POOL = 512  # prior draws that units and leading components are taken from
_BLOCKS = 20

Quantities = Callable[[Mapping[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]


def sbc(case: Case, report: Report) -> Result:
    """Ranks of simulated truths."""
    ranks, diverged, n = ranks_of_simulations(case, report)
    return _judge("sbc", {q: u for q, u in ranks.items() if q != "distance"}, case, diverged, n)


def tarp(case: Case, report: Report) -> Result:
    """Ranks of the distance of simulated truths to random references; what is drawn is shared with `sbc`."""
    ranks, diverged, n = ranks_of_simulations(case, report)
    return _judge("tarp", {"distance": ranks["distance"]}, case, diverged, n)


def _judge(check: str, ranks: dict[str, np.ndarray], case: Case, diverged: float, n: int) -> Result:
    parts, arrays = [], {}
    for quantity, u in ranks.items():
        tests = score_tests(normal_scores(u))
        limits = {"bias": (0.0, 0.15, 0.5), "spread": (1.0, 0.1, 0.3), "shape": (0.0, 0.1, 0.25)}
        for what, (value, p) in tests.items():
            expected, tolerance, severe = limits[what]
            parts.append(Question(quantity, what, value, expected, p, tolerance, severe))
        u = u[np.isfinite(u)]
        arrays[f"{quantity}/ranks"] = np.histogram(u, np.linspace(0, 1, _BLOCKS + 1))[0]
        arrays[f"{quantity}/ecdf"] = np.array([np.mean(u <= level) for level in np.linspace(0, 1, 51)])
    arrays["nominal"] = np.linspace(0, 1, 51)
    return conclude(check, parts, case.checks, diverged, observations=n, draws=case.budget.sbc[1], arrays=arrays)


def ranks_of_simulations(case: Case, report: Report) -> tuple[dict[str, np.ndarray], float, int]:
    """`{quantity: ranks}` over all views, the share of failed draws, and the number of simulations. Made once."""
    kept = case.memory.get("simulation")
    if kept is None:
        kept = case.memory["simulation"] = _simulate(case, report)
    return kept


def _simulate(case: Case, report: Report) -> tuple[dict[str, np.ndarray], float, int]:
    total, draws = case.budget.sbc
    simulated = case.simulate("sbc", total)
    ranks: dict[str, list[np.ndarray]] = {}
    failed = steps = n = 0
    for name, sim in simulated.items():
        ask = _quantities(case, name, sim)
        counters = {q: RankCounter(value) for q, value in ask(sim.truth, sim.white.mix(sim.truth)).items()}
        sampler = case.model.given(name, sim.white.view)
        bad = np.zeros(len(sim.white), bool)
        for draw in range(draws):
            x = sampler(case.key_for("sbc", name, draw))
            mixed = sim.white.mix(x)
            bad |= ~np.isfinite(mixed).all(1)
            for q, value in ask(x, mixed).items():
                counters[q].add(value)
            steps += 1
            report(steps / (draws * len(simulated)))
        failed, n = failed + int(bad.sum()), n + len(bad)
        for q, counter in counters.items():
            ranks.setdefault(q, []).append(counter.uniform(case.rng("ties", name, q)))
    return {q: np.concatenate(parts) for q, parts in ranks.items()}, failed / max(n, 1), n


def _quantities(case: Case, view: str, sim: Simulated) -> Quantities:
    """The numbers that are ranked, as a function of sources and their mixture."""
    units: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for s in sim.white.sources:
        pool = case.prior_pool(s, _POOL)
        mean = pool.mean(0)
        _, values, rows = np.linalg.svd(pool - mean, full_matrices=False)
        random = case.rng("directions", s).standard_normal((_DIRECTIONS, pool.shape[1]))
        scale = max(float(np.sqrt((values**2).sum() / pool.size)), 1e-300)
        units[s] = mean, np.concatenate([rows[:_COMPONENTS], random / np.sqrt(pool.shape[1])]) / scale, scale
    n = len(sim.white)
    reference = {s: flat(case.model.sample(s, n, case.key_for("reference", view, s))) for s in units}

    def ask(x: Mapping[str, np.ndarray], mixed: np.ndarray) -> dict[str, np.ndarray]:
        asked, flux, distance = {}, {}, np.zeros(n)
        for s, (mean, directions, scale) in units.items():
            z = flat(x[s]) - mean
            projected = z @ directions.T
            flux[s] = z.sum(1)
            asked[f"{s}: sum"] = flux[s]
            asked[f"{s}: power"] = (z**2).sum(1)
            for k in range(projected.shape[1]):
                kind = f"component {k + 1}" if k < len(directions) - _DIRECTIONS else "direction"
                number = "" if k < len(directions) - _DIRECTIONS else f" {k + 1 - len(directions) + _DIRECTIONS}"
                asked[f"{s}: {kind}{number}"] = projected[:, k]
            distance += ((flat(x[s]) - reference[s]) ** 2).sum(1) / (scale**2 * z.shape[1])
        first, *others = flux
        for s in others:
            asked[f"{first} against {s}: sum"] = flux[first] - flux[s]
        asked["residual"] = ((sim.white.y - mixed) ** 2).sum(1)
        asked["distance"] = distance
        return asked

    return ask
