"""What a run has learned, as something that is drawn in one evaluation, or a few."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from dichroic.diagnose import Budget, LearnedModel, may_stand_in
from dichroic.faults import among
from dichroic.onestep import GeneratorPrior, GeneratorTraining, OneStepConfig, distill
from dichroic.posterior import Fast, FastPosterior, Task
from dichroic.run.folder import RunError
from dichroic.run.run import Run

__all__ = ["distill_posterior", "distill_prior"]

_DRAWS = 4096  # of the prior, which tell the generator where it has too few


def distill_prior(
    run: Run,
    source: str,
    config: OneStepConfig | None = None,
    *,
    levels: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> GeneratorPrior:
    """Distils the prior of a source, and keeps the generator with the run; interrupted, it goes on where it stopped.

    **Arguments:** `levels`, evaluations of a draw: with more than one the generator is a stochastic denoiser, drawn
    through as many noise levels; `out`, a file to write it to as well.

    **Raises:** `RunError` for an unknown source, and for one whose prior has no denoiser.
    """
    run.check_source(source)
    prior, config = run.priors[source], config or OneStepConfig()
    teacher = prior.denoiser()
    if teacher is None:
        raise RunError(f"the prior of '{source}' has no denoiser (it is of kind '{prior.kind}'): nothing to distil")
    key = jax.random.fold_in(jax.random.key(seed), int(prior.fingerprint()[:7], 16))
    draw_key, train_key = jax.random.split(key)
    batch = min(_DRAWS, max(16, 2**22 // int(np.prod(prior.shape))))
    parts = [prior.sample(batch, key=jax.random.fold_in(draw_key, begin)) for begin in range(0, _DRAWS, batch)]
    data = prior.scaling.to_scaled(np.concatenate([np.asarray(part) for part in parts])[:_DRAWS])
    file = run.folder.fast_file(source)
    checkpoint = file.with_name(f"{file.stem}.training.safetensors")
    network = run.config.network_for(prior.shape)
    how = GeneratorTraining(network, config, stochastic=levels > 1, report=report, checkpoint=checkpoint)
    generator, _ = distill(teacher, data, how, key=train_key)
    through = () if levels == 1 else tuple(np.geomspace(config.sigma_max, config.sigma_max / 4 ** (levels - 1), levels))
    provenance = {**prior.provenance, "distilled": {"steps": config.training.steps, "seed": seed}}
    found = GeneratorPrior(generator, tuple(map(float, through)), prior.scaling, provenance)
    for path in (file, out):
        if path is not None:
            found.save(path)
    checkpoint.unlink(missing_ok=True)
    return found


def distill_posterior(
    run: Run,
    view: str,
    method: Fast | None = None,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    report: Callable[[str, float], None] | None = None,
) -> FastPosterior:
    """Trains a fast posterior of a view, on pairs simulated from the priors of the run, and asks whether it may stand
    in for the method of the run (`dichroic.diagnose.may_stand_in`); it is kept with the run, and the answer with it.

    **Arguments:** `budget`, of the question; `report(what, share)` is called now and then.

    **Raises:** `RunError` where there is no such view, nothing was held out, or its observations are too large.
    """
    problem, held_out, told = run.problem, run.held_out, report or (lambda what, share: None)
    if view not in problem.views:
        raise RunError(f"no view '{view}'; there are: {among(view, problem.views)}")
    if held_out is None or view not in held_out.views:
        raise RunError(f"nothing of view '{view}' was held out by the run in {run.path}, to judge the posterior by")
    part = problem.views[view]
    known = {s: run.priors[s] for s in part.mixing}
    train_key, judge_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 19))
    task = Task(part.noisy, known, train_key, report=lambda done, total: told("training", done / total))
    try:
        found = (method or Fast()).distil(task)
    except ValueError as error:
        raise RunError(f"view '{view}': {error}") from error
    alone = replace(held_out, views={view: held_out.views[view]}, sources={s: held_out.sources[s] for s in known})
    fast = LearnedModel(known, run.config.sampling, {view: found})
    slow = LearnedModel(known, run.config.sampling, run.posteriors)
    options = {} if budget is None else {"budget": budget}
    failures = may_stand_in(fast, slow, alone, key=judge_key, report=told, **options)
    found = replace(found, refused=tuple(failure.sentence for failure in failures))
    found.save(run.folder.fast_posterior_file(view))
    return found
