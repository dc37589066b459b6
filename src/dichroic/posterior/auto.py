"""All the choosing: which method serves the sources and observations of a view."""

from typing import Literal

import jax
from pydantic import NonNegativeInt, PositiveInt

from dichroic.diffusion import COMPONENTS_LEVEL, EXACT_SIZE, Ancestral, Cost
from dichroic.posterior.annealed import Annealing, Sampled
from dichroic.posterior.candidates import Candidates
from dichroic.posterior.closed_form import closed_form
from dichroic.posterior.covariance import Measured
from dichroic.posterior.handover import Handover
from dichroic.posterior.method import Bound, Task
from dichroic.posterior.moments import MomentMatching
from dichroic.posterior.targets.opc import OPC
from dichroic.posterior.trial import try_methods

__all__ = ["Auto"]

_MOST_SOURCES, _MOST_VALUES = 2, 8  # up to which candidates were found to be the best choice
_COVERED = 0.5  # own share of the components of a mixture, below which it covers its source
_MOST_STEPS = 8  # of candidates
_TRIAL = 2**32 - 2  # folded into the key of a trial: no observation has this index


class Auto(Annealing):
    """The method that suits a view: exact draws where every prior is a Gaussian or a mixture of them and the view is
    small enough; with `candidates`, those where sources are few and small, with the priors' own networks for the last
    `finish_steps`; elsewhere moment matching. The other settings are those of the methods.

    With `trial`, learned priors of more than 16 numbers have moment matching with measured covariances, and with Krylov
    solves of one iteration and ancestral steps, and guidance by measured covariances (`OPC`), tried on so many
    observations simulated from them (`try_methods`).
    """

    any_likelihood = True

    kind: Literal["auto"] = "auto"
    candidates: bool = False
    """Take candidates where sources are few and small."""
    components: PositiveInt = 512
    """Gaussians that are made of every prior."""
    tuples: PositiveInt = 4096
    """Combinations weighed at every step."""
    finish_steps: NonNegativeInt = 2
    """Steps with the priors' networks after candidates; 0 for none."""
    trial: NonNegativeInt = 0
    """Simulated observations that methods are tried on, where priors are learned; 0 for none."""
    iterations: PositiveInt = 4
    """Covariance krylov: iterations of a solve."""
    root_iterations: PositiveInt = 4
    """Covariance krylov: iterations of a matrix root."""
    mcmc: NonNegativeInt | None = None
    """Turns of Hamiltonian Monte Carlo at every noise level of moment matching, where sources are not mixed linearly or
    noise is not Gaussian; none said, 4 where sources enter by a function of several, and 0 elsewhere."""

    def attach(self, task: Task) -> Bound:
        if (exact := closed_form(self, task)) is not None:
            return exact
        bound = super().attach(task)
        bound.tried = [trial.sentence for trial in task.made.get("trials", ())]
        return bound

    def untrained(self) -> "Auto":
        return self.model_copy(update={"trial": 0})  # scores of laps are to differ by their priors alone

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
            mcmc=self.mcmc,
        )
        few = len(task.priors) <= _MOST_SOURCES and task.size <= EXACT_SIZE and task.view.data_size <= _MOST_VALUES
        if not (self.candidates and few):
            learned = any(d is not None and d.learned for d in (p.denoiser() for p in task.priors.values()))
            return (
                self._tried(task, moments) if self.trial and learned and task.size > EXACT_SIZE else (moments, Cost())
            )
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

    def _tried(self, task: Task, moments: MomentMatching) -> tuple[Sampled, Cost]:
        krylov = {"covariance": "krylov", "iterations": 1, "root_iterations": 1, "step": Ancestral()}
        rivals: list[Sampled] = [moments, moments.model_copy(update=krylov)]
        if Measured.suits(task.denoisers(self.kind)):
            rivals.append(OPC(steps=self.steps, warm_steps=self.warm_steps, restart=self.restart))
        key = jax.random.fold_in(task.key, _TRIAL)
        trials = task.made["trials"] = try_methods(rivals, task.view, task.priors, self.trial, key=key)
        chosen = trials[0].method
        assert isinstance(chosen, Sampled)
        return chosen, Cost(forward=sum(2 * len(t.scores) * t.cost for t in trials))
