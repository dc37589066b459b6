"""All the choosing: which method serves the sources and observations of a view."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from dichroic.diffusion import COMPONENTS_LEVEL, EXACT_SIZE, Cost
from dichroic.posterior.annealed import Annealing, Sampled
from dichroic.posterior.candidates import Candidates
from dichroic.posterior.closed_form import closed_form
from dichroic.posterior.handover import Handover
from dichroic.posterior.method import Bound, Task
from dichroic.posterior.moments import MomentMatching

__all__ = ["Auto"]

_MOST_SOURCES, _MOST_VALUES = 2, 8  # up to which candidates were found to be the best choice
_COVERED = 0.5  # own share of the components of a mixture, below which it covers its source
_MOST_STEPS = 8  # of candidates


class Auto(Annealing):
    """The method that suits a view: exact draws where every prior is a Gaussian or a mixture of them and the view is
    small enough; with `candidates`, those where sources are few and small, with the priors' own networks for the last
    `finish_steps`; elsewhere moment matching. The other settings are those of the methods.
    """

    kind: Literal["auto"] = "auto"
    candidates: bool = False
    """Take candidates where sources are few and small."""
    components: PositiveInt = 512
    """Gaussians that are made of every prior."""
    tuples: PositiveInt = 4096
    """Combinations weighed at every step."""
    finish_steps: NonNegativeInt = 2
    """Steps with the priors' networks after candidates; 0 for none."""
    iterations: PositiveInt = 4
    """Covariance krylov: iterations of a solve."""
    root_iterations: PositiveInt = 4
    """Covariance krylov: iterations of a matrix root."""

    def attach(self, task: Task) -> Bound:
        return closed_form(self, task) or super().attach(task)

    def legs(self, task, high=None, low=None, *, afresh=False):
        method, tried = self.choose(task)
        legs, shared = method.legs(task, high, low, afresh=afresh)
        return legs, tried + shared

    def choose(self, task: Task) -> tuple[Sampled, Cost]:
        """The method where draws need sampling, and what it took to see that another one does not suit."""
        moments = MomentMatching(
            step=self.step,
            steps=self.steps,
            warm_steps=self.warm_steps,
            restart=self.restart,
            iterations=self.iterations,
            root_iterations=self.root_iterations,
        )
        few = len(task.priors) <= _MOST_SOURCES and task.size <= EXACT_SIZE and task.view.data_size <= _MOST_VALUES
        if not (self.candidates and few):
            return moments, Cost()
        candidates = Candidates(
            components=self.components,
            tuples=self.tuples,
            steps=min(self.steps, _MOST_STEPS),
            warm_steps=min(self.warm_steps, _MOST_STEPS),
            restart=self.restart,
        )
        _, shared, own = candidates.mixtures(task)
        if own > _COVERED:
            return moments, shared  # too few components for what the source is: its moments say more
        if not self.finish_steps:
            return candidates, Cost()
        finish = moments.model_copy(update={"steps": self.finish_steps})
        return Handover(first=candidates, then=finish, at=COMPONENTS_LEVEL), Cost()
