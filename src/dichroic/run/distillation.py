"""What a run has learned, as something that is drawn in one evaluation."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from dichroic.onestep import GeneratorPrior, OneStepConfig, distill, distill_stochastic
from dichroic.run.folder import RunError
from dichroic.run.run import Run

__all__ = ["distill_prior"]

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
    generator, _ = (distill if levels == 1 else distill_stochastic)(
        teacher,
        data,
        run.config.network_for(prior.shape),
        config,
        key=train_key,
        report=report,
        checkpoint=checkpoint,
    )
    through = () if levels == 1 else tuple(np.geomspace(config.sigma_max, config.sigma_max / 4 ** (levels - 1), levels))
    provenance = {**prior.provenance, "distilled": {"steps": config.training.steps, "seed": seed}}
    found = GeneratorPrior(generator, tuple(map(float, through)), prior.scaling, provenance)
    for path in (file, out):
        if path is not None:
            found.save(path)
    checkpoint.unlink(missing_ok=True)
    return found
