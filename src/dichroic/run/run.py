"""A run: learned priors, and what can be done with them."""

import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dichroic.closed import GaussianFit
from dichroic.diffusion import PRIOR_STEPS, STEPS, Prior
from dichroic.em import split
from dichroic.faults import among
from dichroic.law import LearnedPosterior
from dichroic.posterior import Fast, Method, ViewPosterior, separation_key
from dichroic.problem import Problem, Source, as_complex, load_problem
from dichroic.run.choices import Choice, choices
from dichroic.run.folder import RunError, RunFolder
from dichroic.run.next_step import command, go_on, no_run
from dichroic.run.refits import load_refits
from dichroic.run.separating import separate
from dichroic.run.separation import Separation
from dichroic.run.widths import Widths, widths
from dichroic.settings import FitConfig

__all__ = ["Run"]


class Run:
    """The run in a folder.

    **Arguments:** `path`, of the folder; `problem` and `held_out`, the observations it was fitted to and judged by,
    where they are at hand (otherwise read again from the problem's file when needed).
    """

    def __init__(self, path: str | Path, *, problem: Problem | None = None, held_out: Problem | None = None):
        self.folder = RunFolder(Path(path))
        if not self.folder.exists:
            raise RunError(no_run(self.folder.path))
        self._problem, self._held_out = problem, held_out

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def separated(self) -> Path:
        """The separated held-out observations."""
        return self.path / "separated.zarr"

    @property
    def separation(self) -> Separation:
        """The sources behind the held-out observations, as they were separated at the end of the fit.

        **Raises:** `RunError` where the fit is not finished, or nothing was held out.
        """
        if not self.separated.exists():
            if not self.folder.finished:
                raise RunError(f"the fit in {self.path} is not finished; {go_on(self.path)}")
            raise RunError(
                f"the fit in {self.path} held nothing out, or has not separated it yet; separate other observations, "
                f"{command('separate', self.path, 'new.toml')}, or say held_out = 0.1 in the problem file and fit anew"
            )
        return Separation.open(self.separated)

    @cached_property
    def config(self) -> FitConfig:
        """The settings of the fit."""
        return self.folder.config()

    @cached_property
    def priors(self) -> dict[str, Prior]:
        """The learned priors."""
        return self.folder.priors()

    @cached_property
    def latest(self) -> tuple[dict[str, Prior], str]:
        """The priors there are, of a fit that was stopped, too, and which ones these are, in words."""
        return self.folder.latest_priors()

    @cached_property
    def posteriors(self) -> dict[str, LearnedPosterior]:
        """The posteriors that were learned beside the priors, by view."""
        return self.folder.posteriors()

    @property
    def records(self) -> list[dict[str, Any]]:
        """One dict per lap: scores, residuals, times."""
        return self.folder.records()

    @property
    def choices(self) -> dict[str, Choice]:
        """For every source which prior is used, of those the fit had, and by what proof."""
        return choices(self.records, self.folder.problem())

    @property
    def widths(self) -> list[Widths]:
        """How wide draws of learned posteriors are beside their errors."""
        return widths(self.records)

    @property
    def gaussian(self) -> GaussianFit | None:
        """The Gaussian stage."""
        return self.folder.gaussian()

    @property
    def problem(self) -> Problem:
        """The observations the fit learned from."""
        return self._observations()[0]

    @property
    def held_out(self) -> Problem | None:
        """The observations the fit was judged by."""
        return self._observations()[1]

    def separate(
        self,
        problem: Problem | None = None,
        *,
        draws: int = 8,
        share: float | None = None,
        sampling: Method | None = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        seed: int = 0,
        report: Callable[[int, int], None] | None = None,
    ) -> Separation:
        """Separates observations: joint posterior draws of all their sources. Nothing is refitted.

        **Arguments:** `problem`, new observations with any operators of the same sources (default: those of the fit),
        which are known to have the range that was said of them for the fit, unless another is said;
        `draws`, per observation; `share`, the Monte-Carlo share of the squared error of means above which draws are
        added (default: the fit's); `sampling`, a method in place of the fit's, and of what was learned for a view;
        `out`, a Zarr store to stream to;
        `overwrite`, whether to replace the one that is there. Of the method `fast` it is what was distilled
        (`dichroic.run.distillation.distill_posterior`) that draws, in the views where that may stand in for the fit's
        method; in others this one does, with a warning.

        A fit that was stopped is separated with the priors it has (`latest` says which).

        **Raises:** `RunError` for a source without a prior, or of another shape, and when `out` is taken.
        """
        if problem is not None:
            sources = self.folder.problem()["sources"]
            problem = problem.knowing(
                {s: Source(**{**said, "shape": tuple(said["shape"])}) for s, said in sources.items()}
            )
            if (found := self.folder.instrument()) is not None:
                problem = problem.restated(found.values, found.stds)
        fast = isinstance(sampling, Fast)
        return separate(
            self.problem if problem is None else problem,
            self.latest[0],
            key=separation_key(seed),
            draws=draws,
            sampling=self.config.sampling if fast or sampling is None else sampling,
            share=self.config.mean_share if share is None else share,
            learned=self._accepted() if fast else None if sampling else self.posteriors,
            refits=load_refits(self.path),
            out=out,
            overwrite=overwrite,
            report=report,
            said=self._said(seed),
        )

    def _accepted(self) -> dict[str, ViewPosterior]:
        """The fast posteriors of the views where they may stand in, and what was learned for the others."""
        found: dict[str, ViewPosterior] = dict(self.posteriors)
        for view, posterior in self.folder.fast_posteriors().items():
            if posterior.refused == ():
                found[view] = posterior
            else:
                why = "; ".join((posterior.refused or ("it was not judged",))[:1])
                warnings.warn(f"view '{view}': its fast posterior is not used: {why}", stacklevel=3)
        return found

    def _said(self, seed: int) -> dict[str, str]:
        """Where draws come from: the data that were learned from, wherever the run lies, and the seed."""
        priors = {"priors": self.latest[1]} if self.latest[1] else {}
        return {"learned from": self.folder.problem()["fingerprint"][:16], "seed": str(seed), **priors}

    def sample(
        self,
        source: str,
        n: int,
        *,
        seed: int = 0,
        steps: int = PRIOR_STEPS,
        step: str = "heun",
        fast: bool = False,
    ) -> np.ndarray:
        """Draws `n` samples of a source from its prior, in the user's units; with `fast`, from the generator that was
        distilled from it.

        **Raises:** `RunError` for an unknown source, and where nothing was distilled.
        """
        self.check_source(source)
        prior = self.folder.fast_prior(source) if fast else self.priors[source]
        x = np.asarray(prior.sample(n, key=jax.random.key(seed), step=STEPS[step](), steps=steps))
        return as_complex(x) if self.folder.problem()["sources"][source].get("dtype") == "complex" else x

    def check_source(self, source: str) -> None:
        """Whether the run has a source.

        **Raises:** `RunError` where it has not.
        """
        if source not in self.priors:
            raise RunError(f"the run has no source '{source}'; it has {among(source, self.priors)}")

    def _observations(self) -> tuple[Problem, Problem | None]:
        if self._problem is None:
            file = self.folder.problem()["file"]
            if file is None:
                raise RunError(f"the run in {self.path} was started from Python; open it with Run(path, problem=...)")
            loaded = load_problem(file)
            if loaded.problem.fingerprint() != self.folder.problem()["fingerprint"]:
                raise RunError(f"{file} has changed since the run in {self.path} was started")
            self._problem, self._held_out = split(loaded.problem, loaded.held_out, self.config)
        if (found := self.folder.instrument()) is not None:
            problem, held_out = self._problem, self._held_out
            self._problem = problem.restated(found.values, found.stds)
            self._held_out = None if held_out is None else held_out.restated(found.values, found.stds)
        return self._problem, self._held_out
