"""What a fit learns of the instrument before it learns sources."""

from collections.abc import Callable, Mapping

import jax

from dichroic.closed import InstrumentFit, learn_instrument
from dichroic.diffusion import Prior
from dichroic.problem import Problem
from dichroic.run.folder import RunError, RunFolder
from dichroic.run.known import populations_of
from dichroic.settings import FitConfig

__all__ = ["instrument_of"]


def instrument_of(
    problem: Problem,
    frozen: Mapping[str, Prior],
    config: FitConfig,
    folder: RunFolder,
    say: Callable[[str], None],
    tick: Callable[[], None],
) -> InstrumentFit | None:
    """The unknowns that all observations share, by the likelihood of Gaussian sources: learned, or as the folder has
    them; None where there are none. Second moments tell them whatever the sources are.

    **Raises:** `RunError` for observations too large for exact likelihoods.
    """
    if all(unknown.per_sample for unknowns in problem.unknowns.values() for unknown in unknowns.values()):
        return None
    found = folder.instrument()
    if found is None:
        key = jax.random.fold_in(jax.random.key(config.seed), 0)
        fixed = populations_of(frozen, key)
        try:
            found = learn_instrument(
                problem, config.gaussian, fixed=fixed, seed=config.seed, report=lambda share: tick()
            )
        except ValueError as error:
            raise RunError(str(error)) from error
        folder.save_instrument(found)
    for sentence in found.sentences():
        say(sentence)
    return found
