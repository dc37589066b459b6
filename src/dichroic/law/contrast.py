r"""What one view adds to another: a source that is seen only together with what another view shows alone.

View `v` observes :math:`y = A x + b`, and view `w` what is beside the source there: :math:`b'`, the other sources
through the same operators, with the same noise. Nothing else is asked of either, neither a likelihood nor a prior.
Where operators or noise differ from observation to observation, or view `w` has gaps, what is behind its observations
is seen anew through the operators of view `v` (`dichroic.law.redrawn`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dichroic.diffusion import Scaling
from dichroic.law.redrawn import Redrawn
from dichroic.operators import count_samples, joints, take
from dichroic.problem import Problem, View
from dichroic.problem.noise import inner_noise
from dichroic.problem.view import leaves

__all__ = ["Contrast", "Sources", "find_contrast", "refusals"]

Sources = Callable[[View], Mapping[str, np.ndarray]]  # joint draws of all sources given the observations of a view

_LEAST = 64  # backgrounds of a kind, below which they do not stand for a population
_MADE = 4096  # backgrounds that are made to say what their mean and their variance are


class Contrast(eqx.Module):
    r"""The observations of the two views, in units of their own: :math:`(y - c) / u`.

    Observations are of the same *kind* when the operators of what is beside the source are the same.

    **Fields:** `y`, shape `(n, ...)`, and `kind`, `(n,)`; `seen`, `(n, ...)`, 1 where there is data (None: everywhere);
    `background`, `(m, ...)`, sorted by kind, the ones of a kind being `count` from `begin` on; `operator`, of the
    source in view `v`; `scaling`, of the source; `low` and `high`, its range in scaled units; `turns`, whether turned
    and mirrored backgrounds are as likely as the others; `marks`, of the kinds, by which they are known, none where any
    operators will do; `redrawn`, what makes backgrounds where those of `background` are none for every observation, but
    made for one of them each.
    """

    y: Float[Array, "n ..."]
    kind: Int[Array, " n"]
    seen: Float[Array, "n ..."] | None
    background: Float[Array, "m ..."]
    begin: Int[Array, " kinds"]
    count: Int[Array, " kinds"]
    operator: Any
    scaling: Scaling
    centre: Float[Array, ""]
    unit: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    source: str = eqx.field(static=True)
    view: str = eqx.field(static=True)
    alone: str = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    turns: bool = eqx.field(static=True)
    marks: tuple[str, ...] = eqx.field(static=True)
    redrawn: Redrawn | None = None

    def __len__(self) -> int:
        return len(self.y)

    def beside(self, i: Any, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A background of the kind of observation `i`."""
        if self.redrawn is not None:
            b = (self.redrawn(i, key) - self.centre) / self.unit
            return b if self.seen is None else b * self.seen[i]
        pick, turn, mirror = jax.random.split(key, 3)
        kind = self.kind[i]
        b = self.background[self.begin[kind] + jax.random.randint(pick, (), 0, self.count[kind])]
        if self.turns:
            b = jax.lax.switch(
                jax.random.randint(turn, (), 0, 4), [lambda b, k=k: jnp.rot90(b, k) for k in range(4)], b
            )
            b = jnp.where(jax.random.bernoulli(mirror), b[:, ::-1], b)
        return b if self.seen is None else b * self.seen[i]

    def mixed(self, x: Float[Array, "..."], i: Any, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A source in its scaled units as observation `i` would see it, over a background of its kind."""
        return self.signal(x, i) + self.beside(i, key)

    def signal(self, x: Float[Array, "..."], i: Any) -> Float[Array, "..."]:
        """:math:`A_i x` alone."""
        s = take(self.operator, i)(self.scaling.to_user(x)) / self.unit
        return s if self.seen is None else s * self.seen[i]

    def back(self, s: Float[Array, "..."], i: Any) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        r"""What a signal says of the source, :math:`A^\top s / A^\top A 1` in scaled units, 0 where that is nothing;
        and :math:`A^\top A 1` itself, at most 1.
        """
        A = take(self.operator, i)
        one = jnp.ones(self.shape)
        seen = jnp.ones(()) if self.seen is None else self.seen[i]
        weight = A.T(seen * A(one))
        most = jnp.maximum(jnp.max(jnp.abs(weight)), jnp.finfo(weight.dtype).tiny)
        known = weight > 1e-3 * most
        x = A.T(s * seen * self.unit) / jnp.where(known, weight, 1)
        return jnp.where(known, self.scaling.to_scaled(x), 0), jnp.clip(weight / most, 0, 1)

    def clip(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Into the range of the source."""
        return jnp.clip(x, self.low, self.high)

    def of(self, view: View) -> "Contrast":
        """The same with other observations of view `v`.

        **Raises:** `ValueError` where operators, noise or mask are not of the kinds that are known.
        """
        beside = {s: operator for s, operator in view.mixing.items() if s != self.source}
        if self.source not in view.mixing or view.event_shape != self.y.shape[1:]:
            raise ValueError(f"it is for observations of shape {self.y.shape[1:]} that show '{self.source}'")
        if (view.observed is None) != (self.seen is None):
            raise ValueError("missing entries are where there were none, or the other way round")
        numbers = {mark: number for number, mark in enumerate(self.marks)}
        noise = view.noise if self.redrawn is None else None
        found = [numbers.get(mark) if numbers else 0 for mark in _kinds(beside, noise, len(view))]
        if (other := next((i for i, number in enumerate(found) if number is None), None)) is not None:
            raise ValueError(f"the operators or the noise of sample {other} are others than those learned from")
        y = np.asarray((view.y - float(self.centre)) / float(self.unit), np.float32)
        seen = None if view.observed is None else view.observed.astype(np.float32)
        return replace(
            self,
            y=jnp.asarray(y if seen is None else y * seen),
            kind=jnp.asarray(np.asarray(found, int) if self.redrawn is None else np.zeros(len(view), int)),
            seen=None if seen is None else jnp.asarray(seen),
            operator=view.mixing[self.source],
            redrawn=None if self.redrawn is None else replace(self.redrawn, operators=beside, noise=view.noise),
        )

    def few(self, most: int) -> "Contrast":
        """Without observations, and with at most so many backgrounds of each kind: what is kept of it."""
        parts = [np.arange(b, b + min(int(c), most)) for b, c in zip(self.begin, self.count, strict=True)]
        count = np.asarray([len(part) for part in parts])
        return replace(
            self,
            y=self.y[:1],
            kind=self.kind[:1],
            seen=None if self.seen is None else self.seen[:1],
            background=self.background[np.concatenate(parts)],
            begin=jnp.asarray(np.cumsum(count) - count),
            count=jnp.asarray(count),
            redrawn=self.redrawn and replace(self.redrawn, draws={s: x[:most] for s, x in self.redrawn.draws.items()}),
        )


def find_contrast(
    problem: Problem, source: str, scaling: Scaling, drawn: Sources | None = None, *, anew: bool = True
) -> Contrast | None:
    """The views that show a source over something that another view shows alone; None where there are none.

    **Arguments:** `drawn`, what draws sources given the observations of the other view, where backgrounds have to be
    made of them; without it these are zero, and the contrast is good for its shapes; `anew`, whether they may be.
    """
    found = [(v, w) for v, view in problem.views.items() for w in problem.views if source in view.mixing and v != w]
    fit = [pair for pair in found if _refusal(problem, source, *pair) is None]
    for pair in fit:
        if (contrast := _exact(problem, source, scaling, *pair)) is not None:
            return contrast
    return _anew(problem, source, scaling, *fit[0], drawn) if fit and anew else None


def refusals(problem: Problem) -> list[str]:
    """Why sources cannot be learned by what one view adds to another, a sentence for each pair of views."""
    pairs = [(s, v, w) for s in problem.sources for v in problem.views for w in problem.views if v != w]
    said = [(s, v, w, _refusal(problem, s, v, w)) for s, v, w in pairs if s in problem.views[v].mixing]
    return [f"{s}, in '{v}' over what '{w}' shows: {why}" for s, v, w, why in said if why]


def _refusal(problem: Problem, source: str, v: str, w: str) -> str | None:
    """Why not this source in view `v` over what view `w` shows."""
    view, other = problem.views[v], problem.views[w]
    beside, shape = set(view.mixing) - {source}, problem.sources[source].real_shape
    if not beside:
        return f"'{v}' shows it alone already"
    if beside != set(other.mixing):
        return f"'{w}' does not show exactly what is beside it"
    if not inner_noise(view.noise).additive:
        return (
            f"the noise of '{v}' depends on all that is seen, so that what is beside the source has another one alone"
        )
    if joints(view.mixing) or joints(other.mixing):
        return "sources enter by a function of several, which is no sum"
    if np.iscomplexobj(view.y) or np.iscomplexobj(other.y):
        return "the data are complex"
    if len(view.event_shape) != len(shape):
        return (
            f"the data have {len(view.event_shape)} axes, and the source has {len(shape)}: networks see both as images"
        )
    return None


def _exact(problem: Problem, source: str, scaling: Scaling, v: str, w: str) -> Contrast | None:
    """With the observations of the other view as they are: of the same shape, operators and noise, without gaps."""
    view, other = problem.views[v], problem.views[w]
    beside = {s: operator for s, operator in view.mixing.items() if s != source}
    if view.event_shape != other.event_shape or other.observed is not None:
        return None
    here, there = (_kinds(m, part.noise, len(part)) for m, part in ((beside, view), (other.mixing, other)))
    numbers = {mark: number for number, mark in enumerate(dict.fromkeys(here))}
    found = np.asarray([numbers.get(mark, -1) for mark in there])
    count = np.bincount(found[found >= 0], minlength=len(numbers))
    if count.min() < _LEAST:
        return None
    order = np.argsort(found, kind="stable")[np.count_nonzero(found < 0) :]
    centre = float(other.y.mean(dtype=float))
    background = (other.y[order] - centre) / _unit(view)
    turns = _turns(problem, beside, view)
    kind = np.asarray([numbers[mark] for mark in here])
    return _contrast(problem, source, scaling, (v, w), centre, background, kind, count, tuple(numbers), turns)


def _anew(problem: Problem, source: str, scaling: Scaling, v: str, w: str, drawn: Sources | None) -> Contrast:
    """With backgrounds made of what is behind the observations of the other view."""
    view, other = problem.views[v], problem.views[w]
    beside = {s: operator for s, operator in view.mixing.items() if s != source}
    if drawn is None:
        draws = {s: np.zeros((len(other), *problem.sources[s].real_shape), np.float32) for s in beside}
    else:
        draws = {s: np.asarray(x, np.float32) for s, x in drawn(other).items()}
    moves = tuple((s, move) for s in beside if (move := problem.sources[s].augmentation) is not None)
    redrawn = Redrawn({s: jnp.asarray(draws[s]) for s in beside}, beside, view.noise, moves)
    marks = tuple(dict.fromkeys(_kinds(beside, None, len(view))))
    marks = marks if len(view) >= _LEAST * len(marks) else ()
    n = min(len(redrawn), _MADE)
    made = np.asarray(_backgrounds(redrawn, np.arange(n) % len(view), jax.random.split(jax.random.key(0), n)))
    centre = float(made.mean(dtype=float))
    background, kind = (made - centre) / _unit(view), np.zeros(len(view), int)
    found = _contrast(problem, source, scaling, (v, w), centre, background, kind, np.asarray([n]), marks, False)
    return replace(found, redrawn=redrawn)


@eqx.filter_jit
def _backgrounds(redrawn: Redrawn, rows: Array | np.ndarray, keys: Array) -> Array:
    return jax.vmap(redrawn)(rows, keys)


def _unit(view: View) -> float:
    return float((view.y if view.observed is None else view.y[view.observed]).std(dtype=float))


def _contrast(
    problem: Problem,
    source: str,
    scaling: Scaling,
    views: tuple[str, str],
    centre: float,
    background: np.ndarray,
    kind: np.ndarray,
    count: np.ndarray,
    marks: tuple[str, ...],
    turns: bool,
) -> Contrast:
    """In units of the observations of the first of the views."""
    v, w = views
    view = problem.views[v]
    unit = _unit(view)
    observed = None if view.observed is None else jnp.asarray(view.observed, jnp.float32)
    y = jnp.asarray((view.y - centre) / unit, jnp.float32)
    given = problem.sources[source]
    low, high = given.range or (-np.inf, np.inf)
    return Contrast(
        y=y if observed is None else y * observed,
        kind=jnp.asarray(kind),
        seen=observed,
        background=jnp.asarray(background, jnp.float32),
        begin=jnp.asarray(np.cumsum(count) - count),
        count=jnp.asarray(count),
        operator=view.mixing[source],
        scaling=scaling,
        centre=jnp.asarray(centre, jnp.float32),
        unit=jnp.asarray(unit, jnp.float32),
        low=jnp.asarray(scaling.to_scaled(low), jnp.float32),
        high=jnp.asarray(scaling.to_scaled(high), jnp.float32),
        source=source,
        view=v,
        alone=w,
        shape=given.real_shape,
        turns=turns,
        marks=marks,
    )


def _kinds(mixing: Mapping[str, Any], noise: Any, n: int) -> list[str]:
    """A mark for every observation: the same for those whose operators and noise are the same."""
    tree = ({s: mixing[s] for s in sorted(mixing)}, noise)

    def one(i: int) -> str:
        taken = take(tree, i)
        found = sha256(repr(jax.tree.structure(taken)).encode())
        for leaf in leaves(taken):
            found.update(np.asarray(leaf, complex).tobytes())
        return found.hexdigest()

    return [one(0)] * n if count_samples(tree) is None else [one(i) for i in range(n)]


def _turns(problem: Problem, beside: Mapping[str, Any], view: View) -> bool:
    """Whether all that is beside the source may be turned and mirrored, and its operators and noise do not mind."""
    wanted = {"flip", "rotate"}
    known = all(wanted <= set(problem.sources[s].symmetry) for s in beside)
    return known and len(view.event_shape) >= 2 and all(_number(operator) for operator in beside.values())


def _number(operator: Any) -> bool:
    diagonal = getattr(operator, "diagonal", lambda: None)()
    return diagonal is not None and np.ndim(diagonal) == 0
