"""What a fit does not know of its populations: kept beside them, and used where posteriors of them are exact."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dichroic.algebra import Components
from dichroic.closed import GaussianFit, gaussian_refits, scarce
from dichroic.diffusion import Prior
from dichroic.hosts import is_first
from dichroic.problem import Problem
from dichroic.settings import FitConfig
from dichroic.store import Format, load_arrays, save_arrays

__all__ = ["load_refits", "refit"]

_REFITS = Format("dichroic refits", 1)
_FILE = "refits.safetensors"


def refit(
    problem: Problem,
    gaussian: GaussianFit,
    priors: Mapping[str, Prior],
    frozen: Mapping[str, Prior],
    config: FitConfig,
    folder: Path,
    report: Callable[[str], None],
) -> None:
    """Keeps refits of the Gaussian stage in a run folder, where observations are scarce and the priors that the fit
    ended with have closed forms; of those of several components they stand for what is not known of means and
    covariances of the whole.
    """
    learned = {s: x for s, x in gaussian.populations.items() if s not in frozen}
    exact = gaussian.log_likelihood and all(prior.components() is not None for prior in priors.values())
    if config.gaussian.refits < 2 or not exact or not scarce(problem, learned):
        return
    fixed = {s: gaussian.populations[s] for s in frozen}
    tell = lambda done, total: report(f"refit {done + 1} of {total}")  # noqa: E731
    found = gaussian_refits(problem, gaussian, config.gaussian, fixed=fixed, seed=config.seed, report=tell)
    arrays = {}
    for number, s in enumerate(learned):
        arrays[f"{number}_mean"] = np.stack([fit[s].mean for fit in found])
        arrays[f"{number}_covariance"] = np.stack([fit[s].covariance() for fit in found])
    if is_first():
        save_arrays(folder / _FILE, arrays, {"sources": list(learned)}, _REFITS)


def load_refits(folder: Path) -> list[dict[str, Components]]:
    """The refits of a run, none where it has none: of every one the populations of the sources that were learned."""
    if not (folder / _FILE).is_file():
        return []
    arrays, content = load_arrays(folder / _FILE, _REFITS)
    named = {s: (arrays[f"{i}_mean"], arrays[f"{i}_covariance"]) for i, s in enumerate(content["sources"])}
    number = len(next(iter(named.values()))[0])
    return [
        {s: Components(np.ones(1), means[k, None], covariances[k, None]) for s, (means, covariances) in named.items()}
        for k in range(number)
    ]
