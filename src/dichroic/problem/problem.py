"""The problem: which sources exist, and how the views mix them."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import jax
import numpy as np

from dichroic.problem.source import Source
from dichroic.problem.validate import ProblemError, check_view
from dichroic.problem.view import View, leaves

__all__ = ["Problem"]


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
        faults = []
        if not self.sources:
            faults.append("a problem needs at least one source")
        if not self.views:
            faults.append("a problem needs at least one view")
        views = {}
        for name, view in self.views.items():
            found = check_view(name, view, self.sources)
            faults += found
            if not found:
                views[name] = view.bind({s: source.shape for s, source in self.sources.items()})
        used = {s for view in self.views.values() for s in view.mixing}
        faults += [
            f"source '{name}' enters no view: nothing can be learned about it"
            for name in self.sources
            if name not in used and self.views
        ]
        if faults:
            raise ProblemError(faults)
        object.__setattr__(self, "sources", dict(self.sources))
        object.__setattr__(self, "views", views)

    def views_of(self, source: str) -> list[str]:
        """Names of the views that a source enters."""
        return [name for name, view in self.views.items() if source in view.mixing]

    def select(self, indices: Mapping[str, np.ndarray]) -> "Problem":
        """The problem restricted to some observations of each view; views without any are left out."""
        views = {name: self.views[name].select(i) for name, i in indices.items() if len(i)}
        return Problem(self.sources, views, self.title)

    def split(self, fraction: float, seed: int = 0) -> tuple["Problem", "Problem"]:
        """Splits every view at random into `(kept, held_out)`, with `fraction` of each view (at least one) held out."""
        rng = np.random.default_rng(seed)
        kept, held = {}, {}
        for name, view in self.views.items():
            order = rng.permutation(len(view))
            n = min(max(1, round(fraction * len(view))), len(view) - 1)
            kept[name], held[name] = np.sort(order[n:]), np.sort(order[:n])
        return self.select(kept), self.select(held)

    def fingerprint(self) -> str:
        """A hash of all data, operators, noise and names: the same problem has the same fingerprint."""
        digest = sha256(repr({name: source.shape for name, source in self.sources.items()}).encode())
        for name, view in self.views.items():
            digest.update(f"{name}{jax.tree.structure(view.observations)}".encode())
            for leaf in leaves(view.observations):
                digest.update(f"{leaf.shape}{leaf.dtype}".encode())
                digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()
