r"""Can the unknowns of an instrument be learned? Their columns beside those of the sources, at order 2.

An unknown :math:`\theta` of the operators, and a factor on the noise, move the covariance of an observation by

.. math:: \frac{\partial\, \mathrm{Cov}(y_i)}{\partial \theta} = \dot M_i \Lambda M_i^\top + M_i \Lambda \dot M_i^\top,
    \qquad \frac{\partial\, \mathrm{Cov}(y_i)}{\partial \log \sigma^2} = I ,

the covariances of the sources by :math:`M_{is} H_s M_{is}^\top`. What a combination of the latter undoes in all
observations cannot be learned, however many there are: the fit would trade flux silently. :math:`\Lambda` is a generic
covariance, for nothing is known of the sources; columns are brought to unit length. Means add nothing: they are as free
as covariances are.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.design.design_views import DesignView
from dichroic.design.finding import Finding
from dichroic.design.pairs import choose_entries
from dichroic.operators import take
from dichroic.problem import Problem, View
from dichroic.problem.unknowns import NOISE
from dichroic.white import WhitenedObservation
from dichroic.white.arrays import widen

__all__ = ["InstrumentReport", "check_instrument"]

_WEAK = 20.0  # condition from which on the unknowns are amber
_NULL = 1e-10  # part of the largest eigenvalue that is taken for zero
_OBSERVATIONS = 256  # of every view
_ENTRIES = 24  # of all sources together
_STEP = 1e-4  # of the unit of a parameter, for differences in double precision

Column = tuple[str, str, int]  # view, name of the unknown, number within it


@dataclass(frozen=True)
class InstrumentReport:
    """Whether what is to be learned of the instrument can be.

    **Fields:** `learned`, the names of the unknowns of every view; `alone`, the condition of the covariances of the
    sources without them, with columns of unit length; `condition`, with them; `null`, directions without information
    that the unknowns bring; `blamed`, the unknowns in them; `remedies`, each of which would mend it.
    """

    learned: Mapping[str, Sequence[str]]
    alone: float
    condition: float
    null: int
    blamed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remedies: Sequence[str] = ()

    def findings(self) -> list[Finding]:
        """One sentence for every view whose unknowns cannot be learned; else one about all."""
        if not self.null:
            level = "amber" if self.condition > _WEAK else "green"
            text = (
                f"what is unknown of the instrument can be learned{' but not well' if level == 'amber' else ''}: "
                f"condition {self.condition:.3g} with it, {self.alone:.3g} without"
            )
            return [Finding(level, "instrument", text, "DC122")]
        return [
            Finding(
                "red",
                f"view '{view}'",
                f"{_listed(unknowns)} cannot be learned, however many observations there are: other covariances of the "
                f"sources make up for any value; to mend it, {'; or '.join(self.remedies)}",
                "DC121",
            )
            for view, unknowns in self.blamed.items()
        ]

    def summary(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "learned": {view: list(names) for view, names in self.learned.items()},
            "condition": self.condition,
            "condition_if_known": self.alone,
            "null": self.null,
            "remedies": list(self.remedies),
        }


def check_instrument(problem: Problem, known: Collection[str] = (), *, seed: int = 0) -> InstrumentReport | None:
    """Judges what is to be learned of an instrument; None where nothing is.

    **Arguments:** `known`, sources with a known prior, whose covariances are known; `seed`, for the choice of entries
    and observations, and the generic covariances.
    """
    learned = {
        view: [name for name, unknown in unknowns.items() if unknown.learned]
        for view, unknowns in problem.unknowns.items()
    }
    learned = {view: names for view, names in learned.items() if names}
    if not learned:
        return None
    shapes = {s: source.real_shape for s, source in problem.sources.items()}
    gram = _Gram(shapes, [s for s in shapes if s not in known], seed)
    for name, view in problem.views.items():
        gram.add(name, view, learned.get(name, []))
    alone, before, _ = _spectrum(gram.matrix[: gram.free, : gram.free])
    condition, after, null = _spectrum(gram.matrix)
    lost = after - before
    if not lost:
        return InstrumentReport(learned, alone, condition, 0)
    found: dict[str, list[str]] = {}
    for number, (view, name, _) in enumerate(gram.columns):
        moved = float(np.linalg.norm(null[gram.free + number]))
        if moved > 1e-4 and name not in found.setdefault(view, []):
            found[view].append(name)
    found = {view: names for view, names in found.items() if names}
    return InstrumentReport(learned, alone, np.inf, lost, found, gram.remedies(before, found))


class _Gram:
    """Inner products of what the unknowns do to the covariances of the data, averaged over every view.

    The first `free` columns are pairs of entries of the sources in `learned`; then come those in `columns`.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], learned: list[str], seed: int):
        self.shapes, self.learned, self.seed = shapes, learned, seed
        self.entries = choose_entries(shapes, seed, _ENTRIES)
        self.whole = all(len(e) == np.prod(shapes[s]) for s, e in self.entries.items())
        self.pairs = {s: np.triu_indices(len(self.entries[s])) for s in learned}
        ends = np.cumsum([0, *(len(self.pairs[s][0]) for s in learned)])
        self.at = {s: slice(a, b) for s, a, b in zip(learned, ends[:-1], ends[1:], strict=True)}
        self.free = int(ends[-1])
        self.columns: list[Column] = []
        self.matrix = np.zeros((self.free, self.free))
        rng = np.random.default_rng(seed)
        roots = {s: rng.normal(size=(len(e), len(e))) for s, e in self.entries.items()}
        self.covariances = {s: B @ B.T / len(B) for s, B in roots.items()}

    def add(self, name: str, view: View, learned: Sequence[str]) -> None:
        """The observations of a view, of whose unknowns some are to be learned."""
        columns = [(name, u, k) for u in learned for k in range(view.unknowns[u].size)]
        sources, total, count = list(view.mixing), 0.0, 0
        for M, moved, seen in self._operators(name, view, [c for c in columns if c[1] != NOISE]):
            J = self._columns(sources, M, moved, seen, any(u == NOISE for _, u, _ in columns))
            total, count = total + J.T @ J, count + 1
        size, more = len(self.matrix), len(columns)
        grown = np.zeros((size + more, size + more))
        grown[:size, :size] = self.matrix
        self.columns += [c for c in columns if c[1] != NOISE] + [c for c in columns if c[1] == NOISE]
        rows = [np.arange(self.free)[self.at[s]] for s in sources if s in self.at]
        rows = np.concatenate([*rows, np.arange(size, size + more)])
        grown[np.ix_(rows, rows)] += total / max(count, 1)
        self.matrix = grown

    def _operators(
        self, name: str, view: View, columns: Sequence[Column]
    ) -> Iterator[tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]], int]]:
        """The white operators of some observations, their derivatives, and how many values are observed."""
        design = DesignView(name, view, self.shapes, self.seed)
        index = design.order[: 1 if view.shared else min(design.used, _OBSERVATIONS)]
        units = {s: design.units(s, self.entries[s]) for s in design.sources}

        def at(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
            shown = view.at(values).select(index) if values else view.select(index)
            with jax.enable_x64(True):
                found = _chosen(
                    widen(shown.observations), np.arange(len(index)), tuple(design.shapes.items()), widen(units)
                )
                return {s: design.noise * np.asarray(M) for s, M in found.items()}

        M, moved = at({}), []
        for _, unknown, k in columns:
            parameter, ends = view.unknowns[unknown], []
            for sign in (1, -1):
                value = np.array(parameter.value, float)
                value.flat[k] += sign * _STEP * parameter.unit.flat[k]
                ends.append((at({unknown: value}), value.flat[k]))
            (up, a), (down, b) = ends
            moved.append({s: (up[s] - down[s]) / (a - b) for s in up})
        counts = view.counts[index]
        for i in range(len(index)):
            yield {s: x[i] for s, x in M.items()}, [{s: x[i] for s, x in dM.items()} for dM in moved], int(counts[i])

    def _columns(
        self,
        sources: Sequence[str],
        M: Mapping[str, np.ndarray],
        moved: Sequence[Mapping[str, np.ndarray]],
        seen: int,
        noise: bool,
    ) -> Float[np.ndarray, "q K"]:
        """What the unknowns do to the covariance of one observation, in a basis of what the sources can move in it."""
        everything = sum(int(np.prod(self.shapes[s])) for s in sources)
        all_of_it = self.whole or everything < seen
        spanning = [*M.values(), *(x for dM in moved for x in dM.values())] if all_of_it else [*M.values()]
        left, values, _ = np.linalg.svd(np.concatenate(spanning, 1), full_matrices=False)
        Q = left[:, values > 1e-9 * max(values.max(initial=0), 1e-300)]
        R = {s: Q.T @ x for s, x in M.items()}
        found = []
        for s in sources:
            if s in self.pairs:
                i, j = self.pairs[s]
                outer = np.einsum("ak,bk->kab", R[s][:, i], R[s][:, j])
                found.append((outer + outer.swapaxes(1, 2)).reshape(len(i), -1))
        for dM in moved:
            D = np.sum([Q.T @ dM[s] @ self.covariances[s] @ R[s].T for s in sources], 0)
            found.append((D + D.T).reshape(1, -1))
        J = np.concatenate(found).T if found else np.zeros((Q.shape[1] ** 2, 0))
        if noise:
            rest = max(seen - (Q.shape[1] if self.whole else everything), 0)  # where no source is: noise alone
            J = np.concatenate([J, np.eye(Q.shape[1]).reshape(-1, 1)], 1)
            J = np.concatenate([J, np.append(np.zeros(J.shape[1] - 1), np.sqrt(rest))[None]])
        return J

    def remedies(self, before: int, blamed: Mapping[str, Sequence[str]]) -> list[str]:
        """What would mend it: views that were tried, and what is always possible."""
        found = []
        for many in range(1, len(self.learned) + 1):
            enough = [chosen for chosen in combinations(self.learned, many) if self._with_clean(chosen) <= 0]
            if enough:
                listed = " or ".join(" and ".join(f"'{s}'" for s in chosen) for chosen in enough[:2])
                found.append(f"add a few clean examples of {listed} as a view of its own, with little noise")
                break
        unknowns = {name for names in blamed.values() for name in names}
        if NOISE not in unknowns and self._with_ratio() <= 0:
            found.append("add a view with another known ratio of the amplitudes")
        if NOISE in unknowns:
            found.append(
                "let the operators mix entries differently from one observation to the next (other rows, shifts or "
                "blurs, not masks), or state the noise"
            )
        if unknowns - {NOISE}:
            found.append("say how far it may be off, { value = 1.0, std = 0.1 }")
        return found

    def _with_clean(self, sources: Sequence[str]) -> int:
        """Null directions that the unknowns bring where there are clean examples of some sources."""
        G = self.matrix.copy()
        for s in sources:
            a = np.arange(self.free)[self.at[s]]
            G[a, a] += np.mean(np.diag(G)[a])
        return self._lost(G)

    def _with_ratio(self) -> int:
        """The same with one more view of all sources, whose amplitudes have another ratio."""
        if len({len(e) for e in self.entries.values()}) > 1 or len(self.learned) < len(self.shapes):
            return 1
        G = self.matrix.copy()
        size = np.mean(np.diag(G)[: self.free])
        powers = {s: (0.7 + 0.31 * k) ** 2 for k, s in enumerate(self.learned)}
        for s, a in self.at.items():
            for t, b in self.at.items():
                G[a, b] += size * powers[s] * powers[t] * np.eye(a.stop - a.start)
        return self._lost(G)

    def _lost(self, G: np.ndarray) -> int:
        return _spectrum(G)[1] - _spectrum(G[: self.free, : self.free])[1]


def _spectrum(G: np.ndarray) -> tuple[float, int, np.ndarray]:
    """Condition, dimension and basis of the null space, of columns brought to unit length."""
    if not len(G):
        return 1.0, 0, np.zeros((0, 0))
    size = np.sqrt(np.diag(G))
    t = 1 / np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(G * t[:, None] * t)
    null = int((values <= _NULL * max(values[-1], 1e-300)).sum())
    return np.inf if null else float(np.sqrt(values[-1] / values[0])), null, vectors[:, :null]


def _listed(unknowns: Sequence[str]) -> str:
    """`its noise and the parameter of 'star'`."""
    words = ["its noise" if u == NOISE else f"the unknown of '{u.removeprefix('mixing.')}'" for u in unknowns]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]} together"


@eqx.filter_jit
def _chosen(observations: Any, index: Array | np.ndarray, shapes: Any, units: dict[str, Array]) -> dict[str, Array]:
    """The columns of every source's white operator that belong to some patterns, `(n, m, r)`."""

    def one(i):
        w = WhitenedObservation.unscaled(take(observations, i), dict(shapes))
        return {s: jax.vmap(lambda e, s=s: w.forward({s: e}))(units[s]).T for s, _ in shapes}

    return jax.vmap(one)(jnp.asarray(index))
