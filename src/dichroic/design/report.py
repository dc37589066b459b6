r"""Can the design be learned? What the mixing says about the populations of the sources, before any training.

With :math:`y_{vi} = \sum_s A_{vis} x_{vis} + n_{vi}`, sources independent and their draws not shared between
observations, the cumulants of the sources add, :math:`\kappa_k(y_{vi}) = \sum_s A_{vis}^{\otimes k} \kappa_k(x_s)` and
known noise. Order `k` of all populations can be learned if and only if no :math:`h_s \ne 0` has
:math:`\sum_s A_{vis}^{\otimes k} h_s = 0` in all observations: if the information

.. math:: G_k = \sum_v \overline{(M_{vi}^{\otimes k})^\top M_{vi}^{\otimes k}}

over the stacked sources has no null space. `M` are the operators in units of the noise; each view enters with the mean
over its observations, without its typical noise; the unit of each source is such that the view that sees it best has
unit information about it per entry. So neither the units of the data nor the number of observations change the result.

What it does not say: that an order can be learned is necessary for the populations, all orders together are sufficient;
and it is about populations, not about how sharp a posterior is, which the expected contraction tells.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from dichroic import memory
from dichroic.design.contraction import expected_contraction, source_variances
from dichroic.design.dense_spectrum import dense_spectrum, with_source_alone
from dichroic.design.design_views import DesignView
from dichroic.design.finding import Finding, worst_first
from dichroic.design.iterative_spectrum import Information, iterative_spectrum
from dichroic.design.mean_error import mean_error
from dichroic.design.modes import find_modes
from dichroic.design.null_space import describe_direction, fixes, pattern_in_words
from dichroic.design.pairs import pair_spectrum
from dichroic.design.spectrum import Spectrum
from dichroic.design.weighted_view import WeightedView
from dichroic.problem import Problem, blocks_of

__all__ = ["DesignReport", "check_design"]

WEAK = 20.0  # condition from which on a design is amber
FAINT = 0.02  # contraction below which an observation says next to nothing
LOOSE, UNEVEN = 0.25, 5.0  # error of the worst pattern that is amber, where the condition is at least this
DENSE = 2048  # unknowns up to which the information is a matrix
_MANY, _FEW = 60, 24  # iterations, where observations are averaged and where they are gone through one by one


@dataclass(frozen=True)
class DesignReport:
    """Whether a design can be learned.

    `shapes`, of the sources to be learned; `means` and `covariances`, the spectra of order 1 and 2; `observations`,
    `{view: (number, used for the means, used for the covariances)}`; `contraction`, `{view: {source: share}}`, expected
    of one observation; `with_view`, the condition of the means with one more view, of each source alone, where that was
    computed; `mean_error`, the standard error that the worst-determined pattern of the means is expected to have after
    learning, in standard deviations of the sources (`dichroic.design.mean_error`); `seconds`, the time it took.
    """

    shapes: Mapping[str, tuple[int, ...]]
    means: Spectrum
    covariances: Spectrum
    observations: Mapping[str, tuple[int, int, int]]
    contraction: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    with_view: Mapping[str, float] = field(default_factory=dict)
    mean_error: float = float("nan")
    seconds: float = 0.0

    @property
    def identified(self) -> bool:
        """Whether no source lacks entries, and no two can be exchanged, in their means or covariances.

        What an instrument does not let pass of a single source, as the detail finer than a blur, is no such lack: the
        source as it is seen can be learned.
        """
        lost = [direction for direction in self.means.directions if direction.information == 0]
        flat = bool(lost) and all(direction.kind == "flat" for direction in lost)
        return (not self.means.null or flat) and not self.covariances.trade_offs

    @property
    def fixes(self) -> list[str]:
        """What could be changed about the design, the most useful first."""
        found = [
            fix
            for direction in self.means.directions
            if self._poor(direction.information)
            for fix in self._fixes(direction)
        ]
        if self.means.null == 0 and self.covariances.trade_offs:
            found += [
                "let the operators of the sources differ from observation to observation, independently of each other",
                "add a view with another ratio of amplitudes: not only the signs must differ",
            ]
        return list(dict.fromkeys(found))

    def findings(self) -> list[Finding]:
        """One sentence for each thing to know, the worst first."""
        return worst_first([*self._nulls(), *self._conditions(), *self._few(), *self._faint(), *self._samples()])

    def summary(self) -> dict[str, Any]:
        """The numbers, for a table or for JSON."""
        return {
            "identified": self.identified,
            **{
                name: {
                    "condition": spectrum.condition,
                    "condition_outside_null_space": spectrum.condition_rest,
                    "unknowns": spectrum.unknowns,
                    "null": spectrum.null,
                    "trade_offs": spectrum.trade_offs,
                    "unseen": dict(spectrum.unseen),
                    "route": spectrum.route,
                    "exact": spectrum.exact,
                }
                for name, spectrum in (("means", self.means), ("covariances", self.covariances))
            },
            "contraction": {view: dict(shares) for view, shares in self.contraction.items()},
            "mean_error": self.mean_error,
            "fixes": self.fixes,
            "observations": {
                view: {"number": n, "used_for_means": first, "used_for_covariances": second}
                for view, (n, first, second) in self.observations.items()
            },
            "seconds": self.seconds,
        }

    def _nulls(self) -> list[Finding]:
        codes = {"dead": "DC111", "flat": "DC112", "trade-off": "DC113"}
        sizes = {s: int(np.prod(shape)) for s, shape in self.shapes.items()}
        found = []
        for direction in self.means.directions:
            if direction.information == 0:
                where = " and ".join(f"'{s}'" for s in direction.sources)
                if direction.kind == "flat":
                    text = describe_direction(direction, sizes)
                    found.append(
                        Finding("amber", f"source {where}", f"{text}: {self._undetermined(direction)}", "DC112")
                    )
                    continue
                text = f"{describe_direction(direction, sizes)}; to mend it, {self._fixes(direction)[0]}"
                kind = "source" if len(direction.sources) == 1 else "sources"
                found.append(Finding("red", f"{kind} {where}", text, codes[direction.kind]))
        if not self.means.trade_offs and self.covariances.trade_offs:
            text = "the covariances of the sources can be exchanged without changing those of any data, though their "
            found.append(Finding("red", "design", f"{text}means cannot; to mend it, {self.fixes[-2]}", "DC115"))
        for s, count in self.covariances.unseen.items():
            if count and not self.means.unseen.get(s):
                text = (
                    f"{count} combinations of pairs of its entries are never seen together, which its covariance needs"
                )
                found.append(Finding("amber", f"source '{s}'", text, "DC116"))
        return found

    def _conditions(self) -> list[Finding]:
        means, covariances = self.means, self.covariances
        numbers = f"condition {_in_words(means)} for means, {_in_words(covariances)} for covariances"
        if not self.identified:
            return []
        if max(means.condition, covariances.condition_rest) <= WEAK:
            return [Finding("green", "design", f"the sources can be told apart: {numbers}", "DC114")]
        text = f"the sources can be told apart, but not all of their patterns well: {numbers}"
        weak = [direction for direction in means.directions if self._poor(direction.information)]
        if weak:
            listed = " and ".join(f"'{s}'" for s in weak[0].sources)
            what = pattern_in_words(weak[0].pattern[weak[0].sources[0]])
            text += f"; worst is {what} of {listed}; to mend it, {self._fixes(weak[0])[0]}"
        return [Finding("amber", "design", text, "DC114")]

    def _few(self) -> list[Finding]:
        """Where the condition would do, but not with so few observations."""
        if not UNEVEN < self.means.condition <= WEAK or not self.mean_error > LOOSE:
            return []
        times = (self.mean_error / 0.1) ** 2
        text = (
            f"with so many observations the worst-determined pattern of the means will be off by about "
            f"{self.mean_error:.2g} standard deviations of the sources: sources may be exchanged along it; "
            f"{times:.2g} times as many make it 0.1"
        )
        return [Finding("amber", "design", text, "DC119")]

    def _faint(self) -> list[Finding]:
        found = []
        for s in self.shapes:
            shares = {view: share[s] for view, share in self.contraction.items() if s in share}
            if shares and max(shares.values()) < FAINT:
                text = f"one observation tells at most {max(shares.values()):.1%} of it: it needs very many of them"
                found.append(Finding("amber", f"source '{s}'", text, "DC117"))
        return found

    def _samples(self) -> list[Finding]:
        found = []
        for view, (n, used, _) in self.observations.items():
            if used < n:
                text = f"judged from {used} of {n} observations, whose operators differ; the others may show more"
                found.append(Finding("green", f"view '{view}'", text, "DC118"))
        return found

    def _undetermined(self, direction: Any) -> str:
        name = f"'{direction.sources[0]}'"
        return (
            "no data determines them, and a result shows there what the prior makes of it. What the instrument lets "
            f"pass of {name} is determined: learn it as the telescope sees it (leave the operator out), or compare "
            f"results behind the operator. To learn the rest, {self._fixes(direction)[0]}"
        )

    def _poor(self, information: float) -> bool:
        return information < 1 / WEAK

    def _fixes(self, direction: Any) -> list[str]:
        return fixes(direction, self.with_view)


def check_design(
    problem: Problem, known: Collection[str] = (), *, contraction: bool = True, seed: int = 0
) -> DesignReport | None:
    """Judges a design from its operators, noise and missing entries; of the observations, their size alone matters.

    **Arguments:** `known`, sources with a known prior, which are not to be learned; `contraction`, whether to compute
    the expected contraction and the error of the means, for which the size of the data matters; `seed`, for the choice
    of observations and entries where there are too many.

    **Returns:** the report; None when all sources are known.
    """
    begin = monotonic()
    shapes = {s: source.real_shape for s, source in problem.sources.items() if s not in known}
    if not shapes:
        return None
    views = [_bind(name, view, shapes, seed) for name, view in problem.views.items()]
    views = [view for view in views if view is not None]
    means, scales, traces, with_view = _order_one(views, shapes, seed)
    covariances, used = pair_spectrum(views, shapes, scales, seed)
    variances = source_variances(views, traces) if contraction else {}
    return DesignReport(
        shapes,
        means,
        covariances,
        {view.name: (view.n, view.used, used[view.name]) for view in views},
        expected_contraction(views, variances),
        with_view,
        mean_error(views, means, scales, traces, variances),
        monotonic() - begin,
    )


def _bind(name: str, view: Any, shapes: Mapping[str, tuple[int, ...]], seed: int) -> DesignView | None:
    if not any(s in view.mixing for s in shapes):
        return None
    return WeightedView.of(name, view, shapes, seed) or DesignView(name, view, shapes, seed)


def _order_one(
    views: list[DesignView], shapes: Mapping[str, tuple[int, ...]], seed: int
) -> tuple[Spectrum, dict[str, float], dict[str, dict[str, float]], dict[str, float]]:
    """The spectrum of the means, the units of the sources, traces by view, and conditions with another view."""
    weighted = [view for view in views if isinstance(view, WeightedView)]
    if len(weighted) == len(views):
        alone = {view.name: find_modes([view], list(shapes)) for view in weighted}
        modes = find_modes(weighted, list(shapes))
        if modes is not None and all(alone.values()):
            powers = {v: {s: found.power(s) for s in shapes} for v, found in alone.items() if found is not None}
            scales = _scales(powers)
            modes = modes.scaled(scales)
            return modes.spectrum(), scales, _traces(powers, shapes), {s: modes.condition_with(s) for s in shapes}
    if memory.dense(sum(int(np.prod(shape)) for shape in shapes.values()), DENSE):
        return _dense(views, shapes)
    return _iterative(views, shapes, seed)


def _scales(powers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for shares in powers.values():
        for s, power in shares.items():
            best[s] = max(best.get(s, 0.0), power)
    return {s: 1 / np.sqrt(power) if power > 0 else 1.0 for s, power in best.items()}


def _traces(
    powers: Mapping[str, Mapping[str, float]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, dict[str, float]]:
    return {v: {s: power * float(np.prod(shapes[s])) for s, power in shares.items()} for v, shares in powers.items()}


def _dense(views: list[DesignView], shapes: Mapping[str, tuple[int, ...]]):
    """Observations are added while there is a null space in what was looked at."""
    at, size = blocks_of(shapes), sum(int(np.prod(shape)) for shape in shapes.values())
    for times in (1, 8, 0):
        total, powers = np.zeros((size, size)), {}
        for view in views:
            G = view.gram()
            rows = np.concatenate([np.arange(at[s].start, at[s].stop) for s in view.sources])
            total[np.ix_(rows, rows)] += G
            powers[view.name] = {s: float(np.mean(np.diag(G)[view.blocks[s]])) for s in view.sources}
        scales = _scales(powers)
        t = np.concatenate([np.full(at[s].stop - at[s].start, scales.get(s, 1.0)) for s in shapes])
        total = total * t[:, None] * t
        spectrum = dense_spectrum(total, shapes)
        more = [view for view in views if view.used < view.n]
        if not spectrum.null or not more or times == 0:
            break
        for view in more:
            view.extend(times if times > 1 else 4)
    poor = spectrum.condition > WEAK
    with_view = {s: with_source_alone(total, shapes, s) for s in shapes} if poor else {}
    return spectrum, scales, _traces(powers, shapes), with_view


def _iterative(views: list[DesignView], shapes: Mapping[str, tuple[int, ...]], seed: int):
    at = blocks_of(shapes)
    size = sum(int(np.prod(shape)) for shape in shapes.values())
    rows = {view.name: {s: at[s] for s in view.sources} for view in views}
    powers, dead = {}, np.ones(size, bool)
    for view in views:
        own = Information(lambda x, view=view: _stacked(view, {s: 1.0 for s in shapes}, view.blocks, x), view.shapes)
        diagonal, zero = own.diagonal(8, seed)
        powers[view.name] = {s: float(max(np.mean(diagonal[a]), 0.0)) for s, a in view.blocks.items()}
        for s, a in view.blocks.items():
            dead[at[s]] &= zero[a]
    scales = {s: _scales(powers).get(s, 1.0) for s in shapes}

    def product(x: np.ndarray) -> np.ndarray:
        out = np.zeros_like(x)
        for view in views:
            out += _stacked(view, scales, rows[view.name], x)
        return out

    slow = not all(isinstance(view, WeightedView) for view in views)
    spectrum = iterative_spectrum(Information(product, shapes), dead, seed, _FEW if slow else _MANY)
    return spectrum, scales, _traces(powers, shapes), {}


def _stacked(view: DesignView, scales: Mapping[str, float], at: Mapping[str, slice], x: np.ndarray) -> np.ndarray:
    """The information of a view times stacked vectors `(D, k)`."""
    k = x.shape[1]
    found = view.product({s: scales[s] * x[a].T.reshape(k, *view.shapes[s]) for s, a in at.items()})
    out = np.zeros_like(x)
    for s, a in at.items():
        out[a] = scales[s] * found[s].reshape(k, -1).T
    return out


def _in_words(spectrum: Spectrum) -> str:
    about = "" if spectrum.exact or spectrum.order == 2 else "at least "
    return f"{about}{spectrum.condition_rest if spectrum.order == 2 else spectrum.condition:.3g}"
