r"""What one view adds to another: a source that is seen only together with what another view shows alone.

View `v` observes :math:`y = A x + b`, and view `w` what is beside the source there: :math:`b'`, the other sources
through the same operators, with the same noise. Nothing else is asked of either, neither a likelihood nor a prior.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dichroic.diffusion import Scaling
from dichroic.operators import count_samples, take
from dichroic.problem import Problem, View
from dichroic.problem.noise import inner_noise
from dichroic.problem.view import leaves

__all__ = ["Contrast", "find_contrast"]

_LEAST = 64  # backgrounds of a kind, below which they do not stand for a population


class Contrast(eqx.Module):
    r"""The observations of the two views, in units of their own: :math:`(y - c) / u`.

    Observations are of the same *kind* when the operators of what is beside the source are the same.

    **Fields:** `y`, shape `(n, ...)`, and `kind`, `(n,)`; `seen`, `(n, ...)`, 1 where there is data (None: everywhere);
    `background`, `(m, ...)`, sorted by kind, the ones of a kind being `count` from `begin` on; `operator`, of the
    source in view `v`; `scaling`, of the source; `low` and `high`, its range in scaled units; `turns`, whether turned
    and mirrored backgrounds are as likely as the others; `marks`, of the kinds, by which they are known.
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

    def __len__(self) -> int:
        return len(self.y)

    def beside(self, i: Any, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A background of the kind of observation `i`."""
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
        found = [numbers.get(mark) for mark in _kinds(beside, view.noise, len(view))]
        if (other := next((i for i, number in enumerate(found) if number is None), None)) is not None:
            raise ValueError(f"the operators or the noise of sample {other} are others than those learned from")
        y = np.asarray((view.y - float(self.centre)) / float(self.unit), np.float32)
        seen = None if view.observed is None else view.observed.astype(np.float32)
        return replace(
            self,
            y=jnp.asarray(y if seen is None else y * seen),
            kind=jnp.asarray(np.asarray(found, int)),
            seen=None if seen is None else jnp.asarray(seen),
            operator=view.mixing[self.source],
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
        )


def find_contrast(problem: Problem, source: str, scaling: Scaling) -> Contrast | None:
    """The views that show a source over something that another view shows alone; None where there are none."""
    for v, view in problem.views.items():
        if source not in view.mixing:
            continue
        for w, other in problem.views.items():
            found = _contrast(problem, source, scaling, v, view, w, other)
            if found is not None:
                return found
    return None


def _contrast(
    problem: Problem, source: str, scaling: Scaling, v: str, view: View, w: str, other: View
) -> Contrast | None:
    beside = {s: operator for s, operator in view.mixing.items() if s != source}
    if not beside or set(beside) != set(other.mixing) or view.event_shape != other.event_shape:
        return None
    if not inner_noise(view.noise).additive:  # the noise of what is seen alone is another
        return None
    if view.event_shape != problem.sources[source].real_shape or np.iscomplexobj(view.y) or np.iscomplexobj(other.y):
        return None
    if other.observed is not None:
        return None
    here, there = (_kinds(m, part.noise, len(part)) for m, part in ((beside, view), (other.mixing, other)))
    numbers = {mark: number for number, mark in enumerate(dict.fromkeys(here))}
    found = np.asarray([numbers.get(mark, -1) for mark in there])
    count = np.bincount(found[found >= 0], minlength=len(numbers))
    if count.min() < _LEAST:
        return None
    order = np.argsort(found, kind="stable")[np.count_nonzero(found < 0) :]
    centre = float(other.y.mean(dtype=float))
    unit = float((view.y if view.observed is None else view.y[view.observed]).std(dtype=float))
    observed = None if view.observed is None else jnp.asarray(view.observed, jnp.float32)
    y = jnp.asarray((view.y - centre) / unit, jnp.float32)
    given = problem.sources[source]
    low, high = given.range or (-np.inf, np.inf)
    return Contrast(
        y=y if observed is None else y * observed,
        kind=jnp.asarray([numbers[mark] for mark in here]),
        seen=observed,
        background=jnp.asarray((other.y[order] - centre) / unit, jnp.float32),
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
        turns=_turns(problem, beside, view),
        marks=tuple(numbers),
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
