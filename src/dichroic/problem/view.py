"""Views: sets of observations of the same mixture."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import equinox as eqx
import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError, located
from dichroic.formats import Labels, Opened
from dichroic.operators import (
    AsComplex,
    Composition,
    DiagonalNoise,
    GaussianNoise,
    Identity,
    Joint,
    Likelihood,
    Operator,
    PerSample,
    Scale,
    Unknown,
    count_samples,
    joints,
    select,
    take,
)
from dichroic.problem.containers import open_container
from dichroic.problem.joint import near, parted
from dichroic.problem.noise import bind_noise, inner_noise, unmeasured
from dichroic.problem.observation import Observation, gaussians
from dichroic.problem.source import Source, as_pairs
from dichroic.problem.unknowns import NOISE, Parameter, find_noise, find_unknowns, put
from dichroic.problem.values import as_flags, as_floats, unmask

__all__ = ["View", "beside"]

_ROWS = 256  # observations that go through their operators together


@dataclass(frozen=True)
class View:
    """Observations that mix the same sources in the same way.

    **Arguments:** `y`, shape `(n, ...)`, real or complex, NaN (or masked) where missing; `mixing`, for each source that
    enters this view its operator, a number being an amplitude, `PerSample` of `n` numbers one amplitude per sample, and
    for several that enter by one function `{(source, source): function}` of samples of theirs, in that order;
    `noise`, the standard deviation (a number, an array with the shape of one observation, or `PerSample` of `n` of
    those; infinite where nothing was measured), or any `Likelihood`; a number of either may be `Unknown`, or `"learn"`;
    `observed`, a mask with the shape of `y` or of
    one observation, true where there is data; `truth`, the true sources `{source: (n, ...)}` where they are known, used
    for scores and never for learning; `labels`, what observations and entries are called (default: what `y` says of
    itself, where it is a `DataArray`, a `DataFrame` or a quantity).

    What `y` or the noise hold at missing entries is of no consequence. Validated when it enters a `Problem`.

    **Raises:** `ProblemError` when an argument is not of the right kind, such as text for numbers.
    """

    y: np.ndarray
    mixing: Mapping[Any, Any]
    noise: Any
    observed: np.ndarray | None = None
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    common_mask: bool = False  # set by `bind`: the same entries are missing from all observations
    labels: Labels | None = None
    unknowns: Mapping[str, Parameter] = field(default_factory=dict)  # by name, found in the mixing and the noise

    def __post_init__(self):
        if not isinstance(self.mixing, Mapping):
            raise ProblemError([f"mixing: expected {{source: operator}}, got a {type(self.mixing).__name__}"])
        if not isinstance(self.truth, Mapping):
            raise ProblemError([f"truth: expected {{source: array}}, got a {type(self.truth).__name__}"])
        with located("y"):
            y = unmask(given := open_container(self.y))
        with located("mixing"):
            parts = parted(self.mixing)
        mixing, unknowns = find_unknowns(parts, len(y) if y.ndim else 0)
        with located("noise"):
            noise, factor = find_noise(self.noise, y)
            object.__setattr__(self, "noise", beside(noise, given, np.inf))
        truth = {}
        for name, x in self.truth.items():
            with located(f"truth of source '{name}'"):
                truth[name] = as_floats(beside(x, given, np.nan))
        observed = None
        if self.observed is not None:
            with located("observed"):
                observed = as_flags(beside(self.observed, given, 0.0))
            if y.ndim and observed.shape == y.shape[1:]:
                observed = np.broadcast_to(observed, y.shape)
        for name, operator in self.mixing.items():
            if isinstance(operator, PerSample) and not isinstance(operator.value, Operator):
                with located(f"source '{name}'"):
                    open_container(operator.value).check_order(given, True)
        object.__setattr__(self, "labels", given.labels() if self.labels is None else self.labels)
        object.__setattr__(self, "mixing", mixing)
        object.__setattr__(self, "unknowns", {**self.unknowns, **unknowns, **factor})
        object.__setattr__(self, "truth", truth)
        if observed is None or observed.shape == y.shape:
            y, observed = _without_missing(y, unmeasured(self.noise, y.shape), observed)
        object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "mixing", near(y, mixing))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.y.shape[1:]

    @property
    def per_value(self) -> int:
        """Real numbers that a value consists of: 2 where the data are complex."""
        return 2 if np.iscomplexobj(self.y) else 1

    @property
    def data_size(self) -> int:
        """Real numbers per observation, observed or not."""
        return prod(self.event_shape) * self.per_value

    @property
    def counts(self) -> np.ndarray:
        """Real numbers observed in every observation, shape `(n,)`."""
        if self.observed is None:
            return np.full(len(self), self.data_size)
        return memory.by_rows(lambda seen: seen.reshape(len(seen), -1).sum(1), self.observed) * self.per_value

    def bind(self, sources: Mapping[str, Source | tuple[int, ...]]) -> "View":
        """The same view with every shorthand replaced by what it stands for, and complex sources by real pairs.

        **Arguments:** `sources`, or, where all are real, their shapes.
        """
        known = {name: s if isinstance(s, Source) else Source(tuple(s)) for name, s in sources.items()}
        shapes = {name: source.real_shape for name, source in known.items()}
        mixing = {name: bind_operator(op, known[name]) for name, op in near(self.y, self.mixing, shapes).items()}
        truth = {name: as_pairs(x) if known[name].is_complex else x for name, x in self.truth.items()}
        same = self.observed is None or _all_alike(self.observed)
        noise = bind_noise(self.noise, self.observed)
        return View(self.y, mixing, noise, self.observed, truth, same, self.labels, self.unknowns)

    def at(self, values: Mapping[str, Any]) -> "View":
        """The same through an instrument whose unknowns have these values, and are none any more (bound views only)."""
        mixing = put(self.mixing, self.unknowns, values)
        noise = self.noise
        if NOISE in values:
            inner = inner_noise(noise).scaled(float(values[NOISE]))
            noise = PerSample(inner) if isinstance(noise, PerSample) else inner
        unknowns = {name: unknown for name, unknown in self.unknowns.items() if name not in values}
        return View(self.y, mixing, noise, self.observed, self.truth, self.common_mask, self.labels, unknowns)

    @property
    def exact(self) -> bool:
        """Whether the data are without noise."""
        inner = inner_noise(self.noise)
        return isinstance(inner, DiagonalNoise) and np.ndim(inner.std) == 0 and not np.any(inner.std)

    @property
    def noisy(self) -> "View":
        """The same with unit noise where there is none."""
        kept = self.observed, self.truth, self.common_mask, self.labels, self.unknowns
        return View(self.y, self.mixing, DiagonalNoise(1.0), *kept) if self.exact else self

    def restated(self, values: Mapping[str, Any], stds: Mapping[str, Any]) -> "View":
        """The same with unknowns at such values, and such uncertainties stated of them (bound views only).

        What the view does not know is passed over, as is a noise of which something is stated: saying it twice is once.
        """
        unknowns = dict(self.unknowns)
        new = [name for name in values if name in unknowns and (name != NOISE or unknowns[name].learned)]
        values = {name: values[name] for name in new}
        known = self.at(values)
        for name, value in values.items():
            value, std = np.asarray(value, float), np.asarray(stds[name], float)
            scale = value if name == NOISE else 1.0  # it is a factor on the noise that is stated from now on
            unknowns[name] = replace(unknowns[name], value=np.asarray(value / scale), std=np.asarray(std / scale))
        return replace(known, unknowns=unknowns)

    def hide(self, hidden: np.ndarray) -> "View":
        """The same observations without the entries where `hidden`, of the shape of one observation, is true."""
        observed = np.broadcast_to(~hidden, self.y.shape)
        observed = observed if self.observed is None else self.observed & observed
        return View(self.y, self.mixing, bind_noise(self.noise, observed), observed, {}, self.common_mask, self.labels)

    @property
    def observations(self) -> Observation:
        """All observations, with `PerSample` marks (bound views only)."""
        if self.observed is None:
            observed = np.ones(self.event_shape, bool)
        else:
            observed = self.observed[0] if self.common_mask else PerSample(self.observed)
        return Observation(PerSample(self.y), observed, dict(self.mixing), self.noise)

    def seen(self, source: str, x: np.ndarray) -> np.ndarray:
        r"""A source as it appears in the view, :math:`A_s x_s`, of the shape of the data (bound views only).

        **Arguments:** `x`, one sample for every observation, shape `(n, ...)`, complex ones as pairs.
        """
        out = memory.zeros(self.y.shape, self.y.dtype if np.iscomplexobj(self.y) else np.float32)
        for begin in range(0, len(self), _ROWS):
            memory.release()
            rows = np.minimum(np.arange(begin, begin + min(_ROWS, len(self))), len(self) - 1)  # one program for all
            through = _through(select(self.mixing[source], rows), np.asarray(x[rows], np.float32))
            out[begin : begin + _ROWS] = np.asarray(through)[: len(self) - begin]
        return out

    @property
    def is_gaussian(self) -> bool:
        """Whether the mixture is linear and the noise Gaussian; where it is not, `gaussian` stands for the view."""
        return isinstance(inner_noise(self.noise), GaussianNoise) and not joints(self.mixing)

    @property
    def gaussian(self) -> "View":
        """The linear-Gaussian observations that stand for these near their data (bound views only)."""
        # a view that is kept by itself would stay, with its data, until the collector of garbage comes by
        return self if self.is_gaussian else self._standing

    @cached_property
    def _standing(self) -> "View":
        with jax.enable_x64(True):
            return self.standing(*gaussians(self.observations, np.arange(len(self))))

    @property
    def has_own_likelihood(self) -> bool:
        """Whether the noise is not Gaussian."""
        return not isinstance(inner_noise(self.noise), GaussianNoise)

    def standing(self, y: Any, noise: Any) -> "View":
        """The same with linear-Gaussian observations, one noise for each of them."""
        y, noise = jax.tree.map(np.asarray, (y, noise))
        same = all((a == a[:1]).all() for a in leaves(noise))
        noise = bind_noise(take(PerSample(noise), 0) if same else PerSample(noise), self.observed)
        y = y.astype(self.y.dtype)
        mixing = {s: op.tangent if isinstance(op, Joint) else op for s, op in self.mixing.items()}
        return View(y, mixing, noise, self.observed, self.truth, self.common_mask, self.labels)

    @property
    def shared(self) -> bool:
        """Whether all observations have the same operators, mask, and (Gaussian) noise."""
        return self.common_mask and count_samples((dict(self.mixing), self.gaussian.noise)) is None

    def select(self, indices: np.ndarray) -> "View":
        """The view restricted to some of its observations, in that order."""
        return View(
            memory.rows(self.y, indices),
            {name: select(operator, indices) for name, operator in self.mixing.items()},
            select(self.noise, indices),
            None if self.observed is None else memory.rows(self.observed, indices),
            {name: memory.rows(x, indices) for name, x in self.truth.items()},
            self.common_mask,
            None if self.labels is None else self.labels.select(indices),
            {name: unknown.select(indices) for name, unknown in self.unknowns.items()},
        )

    def subset(self, most: int, seed: int) -> "View":
        """At most so many observations, chosen at random, in the order they are in."""
        if len(self) <= most:
            return self
        return self.select(np.sort(np.random.default_rng(seed).permutation(len(self))[:most]))


def _all_alike(x: np.ndarray) -> bool:
    """Whether all rows of an array are the same."""
    return all(bool((x[block] == x[:1]).all()) for block in memory.blocks(len(x), x[:1].nbytes))


def _without_missing(
    y: np.ndarray, unseen: np.ndarray | None, observed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The data with zeros where they are missing, and what is there; None for everything."""
    if not y.ndim:
        return y, observed
    unseen = None if unseen is None else np.broadcast_to(unseen, y.shape)
    found: np.ndarray | None = None
    filled = y
    for block in memory.blocks(len(y), y[:1].nbytes):
        missing = np.isnan(y[block])
        for a, value in ((unseen, True), (observed, False)):
            if a is not None:
                missing |= a[block] == value
        if not missing.any():
            continue
        if found is None:
            found = memory.zeros(y.shape, bool)
            for before in memory.blocks(len(y), y[:1].size):
                found[before] = True
        found[block] = ~missing
        if filled is y and y[block][missing].any():  # NaN is not zero either
            filled = memory.by_rows(np.copy, y)
        if filled is not y:
            filled[block] = np.where(missing, y.dtype.type(0), y[block])
    return filled, found


@eqx.filter_jit
def _through(operator, x):
    return jax.vmap(lambda i: take(operator, i)(x[i]))(np.arange(len(x)))


def beside(value: Any, y: Opened, filler: float, samples: bool = False) -> Any:
    """Numbers that stand beside `y`: in its unit and order, where they are masked the filler; of `samples` there is one
    for each observation.
    """
    if isinstance(value, PerSample):
        inner = beside(value.value, y, filler, True)
        return value if inner is value.value else PerSample(inner)
    if isinstance(value, Likelihood):
        return value
    if isinstance(value, Unknown):
        return value if value.value is None else Unknown(beside(value.value, y, filler, samples), value.std)
    opened = open_container(value)
    return value if opened.values is value else opened.beside(y, filler, samples=samples)


def bind_operator(operator: Any, source: Source) -> Operator | PerSample:
    """An operator on real samples for what `mixing` holds: numbers are amplitudes, complex sources real pairs."""
    if isinstance(operator, PerSample) and not isinstance(operator.value, Operator):
        operator = PerSample(Scale(factor=as_floats(operator.value), in_shape=source.shape))
    elif not isinstance(operator, Operator | PerSample):
        factor = float(operator) if isinstance(operator, int) else operator
        operator = Scale(factor=factor, in_shape=source.shape)
    if source.is_complex and tuple(operator.in_shape) == source.shape:
        return Composition(operator, AsComplex(source.real_shape))  # pyright: ignore
    return operator


def unbind_operator(operator: Any, source: Source) -> Any:
    """The operator on samples of the source's own type that a bound one was made of."""
    if isinstance(operator, AsComplex) and source.is_complex:
        return Identity(source.shape)
    if not isinstance(operator, Composition) or not source.is_complex:
        return operator
    if isinstance(operator.inner, AsComplex):
        return operator.outer
    return Composition(operator.outer, unbind_operator(operator.inner, source))  # pyright: ignore


def leaves(tree: Any) -> list[np.ndarray]:
    """The array leaves of a tree, as numpy arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if eqx.is_array_like(leaf)]
