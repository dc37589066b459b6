"""The problem: which sources exist, and how the views mix them."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from inspect import getsource
from typing import Any

import jax
import numpy as np

from dichroic import memory
from dichroic.faults import ProblemError
from dichroic.operators import LinearFunction, Response, Tangent
from dichroic.problem.source import Source
from dichroic.problem.unknowns import Parameter
from dichroic.problem.validate import check_names, check_view, has_controls
from dichroic.problem.view import View, leaves

__all__ = ["Problem"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Problem:
    r"""Named sources, named views and the table that mixes them,

    .. math:: y_{vi} = \sum_s A_{vis}\, x_{vis} + n_{vi}, \qquad n_{vi} \sim \mathcal N(0, \Sigma_{vi}) .

    **Arguments:** `sources`, `{name: Source}`; `views`, `{name: View}`; `title`, for the report.

    **Raises:** `ProblemError`, with every fault found, naming the view, the sample, what was expected and what was got.

    >>> import numpy as np
    >>> from dichroic import Problem, Source, View
    >>> rng = np.random.default_rng(0)
    >>> problem = Problem(
    ...     sources={"sky": Source((3,)), "star": Source((3,))},
    ...     views={
    ...         "empty field": View(rng.normal(size=(8, 3)), mixing={"sky": 1.0}, noise=0.1),
    ...         "star field": View(rng.normal(size=(5, 3)), mixing={"sky": 1.0, "star": 0.5}, noise=0.1),
    ...     },
    ... )
    >>> problem.views_of("sky")
    ['empty field', 'star field']
    """

    sources: Mapping[str, Source]
    views: Mapping[str, View]
    title: str = ""

    def __post_init__(self):
        kinds = check_names("source", self.sources, Source) + check_names("view", self.views, View)
        if kinds:
            raise ProblemError(kinds)
        faults, views = [], {}
        for name, view in self.views.items():
            found = check_view(name, view, self.sources)
            faults += found
            if not found:
                views[name] = view.bind(self.sources)
        used = {s for view in self.views.values() for s in view.mixing}
        faults += [
            f"source '{name}' enters no view: nothing can be learned about it"
            for name in self.sources
            if name not in used
        ]
        faults += [
            f"source '{name}': unit: expected text without control characters"
            for name, source in self.sources.items()
            if has_controls(source.unit)
        ]
        if faults:
            raise ProblemError(faults)
        object.__setattr__(self, "sources", dict(self.sources))
        object.__setattr__(self, "views", views)

    def views_of(self, source: str) -> list[str]:
        """Names of the views that a source enters."""
        return [name for name, view in self.views.items() if source in view.mixing]

    def require_noise(self, what: str) -> None:
        """Refuses data without noise.

        **Raises:** `ProblemError`, where a view has none.
        """
        exact = [name for name, view in self.views.items() if view.exact]
        if exact:
            raise ProblemError(
                [f"view '{v}' has no noise (noise = 0): {what} needs some; only separating takes it" for v in exact]
            )

    def select(self, indices: Mapping[str, np.ndarray]) -> "Problem":
        """The problem restricted to some observations of each view; views without any are left out, and sources that
        enter none of the others.
        """
        views = {name: self.views[name].select(i) for name, i in indices.items() if len(i)}
        entering = {s for view in views.values() for s in view.mixing}
        return Problem({s: source for s, source in self.sources.items() if s in entering}, views, self.title)

    @property
    def unknowns(self) -> dict[str, Mapping[str, Parameter]]:
        """The unknowns of the instrument, by view and name; views without any are left out."""
        return {name: view.unknowns for name, view in self.views.items() if view.unknowns}

    def at(self, values: Mapping[str, Mapping[str, Any]]) -> "Problem":
        """The same through an instrument whose unknowns have these values, by view and name."""
        views = {name: view.at(values[name]) if name in values else view for name, view in self.views.items()}
        return Problem(self.sources, views, self.title)

    def restated(self, values: Mapping[str, Mapping[str, Any]], stds: Mapping[str, Mapping[str, Any]]) -> "Problem":
        """The same with unknowns at such values, and such uncertainties stated of them."""
        views = {
            name: view.restated(values[name], stds[name]) if name in values else view
            for name, view in self.views.items()
        }
        return Problem(self.sources, views, self.title)

    def knowing(self, sources: Mapping[str, Source]) -> "Problem":
        """The same, where what is known of others of the same name and shape holds for sources of which nothing is
        said.
        """

        def known(name: str, source: Source) -> Source:
            other = sources.get(name, source)
            return source if source.known() or other.real_shape != source.real_shape else other

        return Problem({name: known(name, source) for name, source in self.sources.items()}, self.views, self.title)

    def split(self, fraction: float, seed: int = 0) -> tuple["Problem", "Problem"]:
        """Splits every view at random into `(kept, held_out)`, with `fraction` of each view (at least one) held out.

        Of windows on records, the last ones are held out, and those that overlap with them are left out.

        **Raises:** `ProblemError` when the fraction is not between 0 and 1, or a view has a single observation.
        """
        if not 0 < fraction < 1:
            raise ProblemError([f"the held-out fraction must be between 0 and 1, got {fraction}"])
        single = [name for name, view in self.views.items() if len(view) < 2]
        if single:
            raise ProblemError([f"view '{name}' has one observation, so none of it can be held out" for name in single])
        rng = np.random.default_rng(seed)
        kept, held = {}, {}
        for name, view in self.views.items():
            order = rng.permutation(len(view))
            n = min(max(1, round(fraction * len(view))), len(view) - 1)
            kept[name], held[name] = np.sort(order[n:]), np.sort(order[:n])
            if view.labels is not None and view.labels.windows is not None:
                held[name] = np.arange(len(view) - n, len(view))
                kept[name] = np.flatnonzero(~view.labels.windows.overlapping(held[name]))
                if not len(kept[name]):
                    raise ProblemError([f"view '{name}': all windows overlap with those held out; hold out fewer"])
        return self.select(kept), self.select(held)

    def fingerprint(self) -> str:
        """A hash of all data, operators, noise and names: the same problem has the same fingerprint, in any process."""
        digest = sha256(repr({name: source.real_shape for name, source in self.sources.items()}).encode())
        known = {name: source.known() for name, source in self.sources.items() if source.known()}
        digest.update(repr(known).encode() if known else b"")
        for name, view in self.views.items():
            # functions are static and print their address, which differs from run to run
            structure = _ADDRESS.sub("", f"{name}{jax.tree.structure(view.observations)}")
            digest.update(structure.encode())
            for leaf in leaves(view.observations):
                _update(digest, leaf)
            if view.unknowns:
                digest.update(repr(dict(view.unknowns)).encode())
            for function in _functions((view.mixing, view.noise)):
                _update_function(digest, function)
        return digest.hexdigest()


def _functions(tree: Any) -> list[Callable]:
    kinds = LinearFunction | Response | Tangent
    nodes = jax.tree.leaves(tree, is_leaf=lambda n: isinstance(n, kinds))
    return [node.function for node in nodes if isinstance(node, kinds)]


def _update(digest: Any, leaf: np.ndarray) -> None:
    digest.update(f"{leaf.shape}{leaf.dtype}".encode())
    for block in memory.blocks(len(leaf), leaf[:1].nbytes) if leaf.ndim else (...,):
        digest.update(np.ascontiguousarray(leaf[block]).tobytes())


def _update_function(digest: Any, function: Callable) -> None:
    """What a function does, as far as it can be known: its text, and the values it was made with."""
    try:
        digest.update(getsource(function).encode())
    except (OSError, TypeError):  # built interactively, or not a plain function
        digest.update(_ADDRESS.sub("", repr(function)).encode())
    for leaf in leaves([value for value in _made_with(function) if not isinstance(value, str)]):
        _update(digest, leaf)


def _made_with(function: Callable) -> Iterator[Any]:
    yield from getattr(function, "__defaults__", None) or ()
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a cell that is still empty
            yield cell.cell_contents
