"""The two nouns of this package: a *method* is a way of drawing posteriors, its settings and nothing else; *bound* to a
view and its priors it has chosen, factorised and trained what all draws share, and is drawn from again and again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt

from dichroic import hosts
from dichroic.algebra import Components
from dichroic.diffusion import Cost, Denoiser, Prior, Schedule, denoisers_of
from dichroic.kinds import OneOf, Settings
from dichroic.operators import joints
from dichroic.posterior.draws import Draws, of_all
from dichroic.posterior.old_settings import modern
from dichroic.problem import View
from dichroic.problem.noise import inner_noise

__all__ = [
    "METHODS",
    "AnyMethod",
    "Bound",
    "Method",
    "Report",
    "Share",
    "Task",
    "ViewPosterior",
    "Wanted",
    "observation_keys",
    "observation_uniforms",
    "read_method",
    "separation_key",
    "some_keys",
]

_LEAST = 64  # observations that programs are made for, when there are fewer

METHODS: dict[str, type["Method"]] = {}  # every way of drawing posteriors by its kind; filled in the package

Share = Annotated[float, Field(ge=0, le=1)]
Report = Callable[[int, int], None]  # report(done, total)


@dataclass(frozen=True)
class Wanted:
    """Draws that are asked for, see `Bound.draw`: of the observations `rows`, those that are `warm` going on from
    `start`.
    """

    keys: Key[Array, " n"]
    rows: np.ndarray
    start: Mapping[str, np.ndarray]
    warm: np.ndarray
    report: Report

    def part(self, chosen: np.ndarray, rows: np.ndarray, report: Report) -> "Wanted":
        """Some of them, which are other rows of another view."""
        start = {s: x[chosen] for s, x in self.start.items()}
        return Wanted(some_keys(self.keys, chosen), rows, start, self.warm[chosen], report)


class Bound(ABC):
    """What can be drawn from, again and again.

    `cost`, network evaluations of a draw per source; `shared`, those that binding took, for all draws together;
    `exact`, whether draws are of the exact posterior; `dense`, whether the system of every observation is made as a
    matrix, where they do not share one; `tried`, what was measured of the methods to choose
    from, in words, the one that was taken first.
    """

    cost: Cost
    shared: Cost
    exact: bool = False
    dense: bool = False
    tried: Sequence[str] = ()

    def draw(
        self,
        keys: Key[Array, " n"],
        rows: np.ndarray | None = None,
        *,
        start: Mapping[str, np.ndarray] | None = None,
        warm: np.ndarray | None = None,
        report: Report | None = None,
    ) -> Draws:
        """Draws every source of every observation once from the joint posterior.

        A draw depends on its key and its observation alone, neither on batches nor on order. Processes that work
        together draw a share each, and have all of them.

        **Arguments:** `keys`, one per draw, see `observation_keys`; `rows`, the observations drawn (all when None);
        `start`, draws of the same observations before, in the user's units, to go on from, and `warm`, which of them do
        (all when None).
        """
        n = len(keys)
        rows = np.arange(n) if rows is None else rows
        warm = np.full(n, start is not None) if warm is None or start is None else warm
        wanted = Wanted(keys, rows, start or {}, warm, report or (lambda done, total: None))
        if not hosts.several() or n < jax.process_count():
            return self.drawn(wanted)
        own = np.arange(n)[hosts.share(n)]
        with hosts.alone():
            found = self.drawn(wanted.part(own, rows[own], wanted.report))
        return of_all(found, n)

    @abstractmethod
    def drawn(self, wanted: Wanted) -> Draws:
        """What `draw` does."""

    def mean(self) -> dict[str, np.ndarray] | None:
        """The exact posterior mean of every source, `{source: (n, ...)}`; None where it has no closed form."""
        return None

    def among(self, refits: Sequence[Mapping[str, Components]]) -> "Bound":
        """The same where populations are known no better than two or more fits agree on them, none if they are known;
        where draws are not exact it is as it was.
        """
        return self

    @abstractmethod
    def on(self, view: View) -> "Bound":
        """The same for other observations through operators of the same kinds: what is shared is not made again."""


@runtime_checkable
class ViewPosterior(Protocol):
    """A posterior that was trained for the observations of a view and is kept with a run."""

    def check(self, view: View, priors: Mapping[str, Prior]) -> None:
        """Whether it is for these observations.

        **Raises:** `ValueError` where it is for other ones, in words.
        """
        ...

    def bind(self, view: View, priors: Mapping[str, Prior], *, key: PRNGKeyArray) -> Bound:
        """What draws of these observations share.

        **Raises:** as `check`.
        """
        ...


@dataclass(frozen=True)
class Task:
    """What a method is bound to.

    **Fields:** `priors`, of the sources that the view mixes, in that order; `key`, of everything random that all draws
    share; `pool`, usable draws of sources in the user's units, `{source: (n, ...)}`, where there are any: what an
    amortised method is trained on; `report(done, total)` is called now and then; `made`, what has been made for the
    task, so that it is not made again when another method is tried; `exact`, whether the data are without noise: the
    view then has unit noise, which is to be left out.
    """

    view: View
    priors: dict[str, Prior]
    key: PRNGKeyArray
    pool: Mapping[str, np.ndarray] | None = None
    report: Report | None = None
    made: dict[Any, Any] = field(default_factory=dict)
    exact: bool = False

    def denoisers(self, needed_by: str) -> dict[str, Denoiser]:
        """Of every source.

        **Raises:** `ValueError` where a prior has none.
        """
        return denoisers_of(self.priors, f"method {needed_by!r}")

    @property
    def schedule(self) -> Schedule:
        """The noise levels, which all sources share."""
        return next(iter(self.priors.values())).schedule

    @property
    def size(self) -> int:
        """Numbers in the largest source."""
        return max(prod(prior.shape) for prior in self.priors.values())


class Method(Settings, ABC):
    """A way of drawing posteriors. Its fields are its settings, in files and on the command line.

    In an E-step all draws are cold, from pure noise, up to lap `cold_laps`. After that they start from those of the lap
    before, but for a share `refresh` of the observations, chosen anew every lap, against stuck modes. `batch` is how
    many observations run side by side (None: chosen by size); results do not depend on it.

    A new method subclasses this (or `Sampled`, where one observation is drawn by itself), says its `kind`, and goes
    into `METHODS`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # EM, simulation-based calibration and coverage need draws; a point estimate has no spread
    returns: ClassVar[Literal["draws", "estimate"]] = "draws"
    # whether laps of EM may draw by it
    in_laps: ClassVar[bool] = True
    # others than Gaussian noise: where not, they are refused
    any_likelihood: ClassVar[bool] = False
    # whether it takes data without noise, as a constraint, and whether it takes no others
    takes_exact: ClassVar[bool] = False
    needs_exact: ClassVar[bool] = False
    # its settings that decide whether draws stay where their sources are
    stability: ClassVar[tuple[str, ...]] = ()

    kind: str
    batch: PositiveInt | None = None
    """Observations drawn side by side on a device; changes memory and speed, not results."""
    cold_laps: NonNegativeInt = 2
    """Laps that draw everything from pure noise."""
    refresh: Share = 0.1
    """Share of observations drawn from pure noise at every lap all the same."""

    def bind(
        self,
        view: View,
        priors: Mapping[str, Prior],
        *,
        key: PRNGKeyArray,
        pool: Mapping[str, np.ndarray] | None = None,
        report: Report | None = None,
    ) -> Bound:
        """Everything that draws share, chosen, factorised and trained; arguments as in `Task`.

        **Raises:** `ValueError` where the method cannot be had for these sources and observations, in words.
        """
        missing = [s for s in view.mixing if s not in priors]
        if missing:
            raise ValueError(f"no prior for source {missing[0]!r}; there are priors for {list(priors)}")
        if not (self.takes_any_likelihood or view.is_gaussian):
            what = type(inner_noise(view.noise)).__name__
            what = "mixed by a function of several sources" if joints(view.mixing) else what
            raise ValueError(
                f"method {self.kind!r} is for Gaussian noise, and that of these observations is {what}; methods for "
                f"any: {', '.join(kind for kind, cls in METHODS.items() if cls.any_likelihood)}"
            )
        if view.exact and not self.takes_exact:
            able = ", ".join(kind for kind, method in METHODS.items() if method.takes_exact)
            raise ValueError(f"method {self.kind!r} needs noise, and these data have none; without noise: {able}")
        if self.needs_exact and not view.exact:
            raise ValueError(f"method {self.kind!r} is for data without noise, which it would take for a source's")
        known = {s: priors[s] for s in view.mixing}
        return self.attach(Task(view.noisy, known, key, pool, report, exact=view.exact))

    @property
    def takes_any_likelihood(self) -> bool:
        """Whether it draws where noise is not Gaussian."""
        return self.any_likelihood

    @abstractmethod
    def attach(self, task: Task) -> Bound:
        """What `bind` does, with its arguments in order."""

    @classmethod
    def variant(cls, table: Mapping[str, Any]) -> type["Method"]:
        """The class that reads a table of this kind, where there are several."""
        return cls

    @classmethod
    def variants(cls) -> list[type["Method"]]:
        """All of those classes."""
        return [cls]

    @property
    def runs(self) -> tuple[int, int]:
        """Sampling steps of a cold and of a warm draw, of which its cost is an affine function."""
        return 1, 1

    @property
    def training(self) -> tuple[int, int]:
        """Optimiser steps that binding takes, and simulated samples of each."""
        return 0, 0

    def counting(self, cold: int, warm: int, training: int = 1) -> "Method":
        """The same with other numbers of steps, where it has any: for estimates of what it costs."""
        return self

    def untrained(self) -> "Method":
        """What stands in for it on observations that nothing was trained for."""
        return self

    @property
    def astray(self) -> str:
        """What is said of draws that have left their sources: by which method, and by which settings."""
        settings = ", ".join(f"{name} = {getattr(self, name)}" for name in self.stability)
        return f"not finite, or far outside their source: method {self.kind!r}" + (f", {settings}" if settings else "")

    @property
    def title(self) -> str:
        """What it does, in a few words."""
        return self.kind.replace("_", " ")

    def batch_size(self, shapes: Mapping[str, tuple[int, ...]], n: int) -> int:
        """Observations per batch of all devices where there are `n`: fewer the larger the sources."""
        usual = int(min(512, max(8, 2**16 // max(prod(shape) for shape in shapes.values()))))
        return min((self.batch or usual) * jax.local_device_count(), padded_size(n))


def read_method(value: Any) -> Method:
    """A method from a table, its name, or itself. Tables of older versions are read too.

    **Raises:** `ValueError` for an unknown kind; pydantic's `ValidationError` for unknown or impossible settings.
    """
    if isinstance(value, Method):
        return value
    table = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise ValueError("expected a table, or the name of a method")
    table = modern(table)
    kind = table.get("kind", "auto")
    if not isinstance(kind, str) or kind not in METHODS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(METHODS)}")
    return METHODS[kind].variant(table).model_validate(dict(table))


# the field of a settings model that holds any method; a new entry of `METHODS` is known to it unasked
AnyMethod = Annotated[Method, OneOf(METHODS, "auto", read_method)]


def separation_key(seed: int) -> PRNGKeyArray:
    """The key of what is separated with a seed, apart from those of the fit with the same one."""
    return jax.random.fold_in(jax.random.key(seed), 7)


def observation_keys(key: PRNGKeyArray, rows: np.ndarray | int) -> Key[Array, " n"]:
    """A key for every observation, by its index alone; `rows`, the indices or how many there are."""
    known = np.arange(rows) if isinstance(rows, int | np.integer) else np.asarray(rows)
    return some_keys(_folded(key, np.resize(known, padded_size(len(known)))), np.arange(len(known)))


def observation_uniforms(key: PRNGKeyArray, n: int) -> Float[np.ndarray, " n"]:
    """A uniform number for each of `n` observations, by its index alone."""
    return np.asarray(_uniforms(key, np.arange(padded_size(n))))[:n]


def some_keys(keys: Key[Array, " n"], rows: np.ndarray) -> Key[Array, " m"]:
    """Keys of some rows, taken on the host, where their number makes no difference to what is compiled."""
    data: Any = np.asarray(jax.random.key_data(keys))[rows]
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))


def padded_size(n: int) -> int:
    """The next power of two, from 64 on: programs for so many serve all numbers up to it."""
    return max(_LEAST, 1 << (n - 1).bit_length())


@jax.jit
def _folded(key, rows):
    return jax.vmap(partial(jax.random.fold_in, key))(rows)


@jax.jit
def _uniforms(key, rows):
    return jax.vmap(lambda row: jax.random.uniform(jax.random.fold_in(key, row)))(rows)
