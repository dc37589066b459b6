"""The demo: digits over grass, fitted, scored against what can be had without learning, and kept in a run folder."""

from pathlib import Path

import jax
import numpy as np

from dichroic.baselines import MeanSubtraction
from dichroic.metrics import psnr
from dichroic.problem import load_problem, save_problem
from dichroic.run import Progress, Run, fit, separate
from dichroic.run.summary import view_scores
from dichroic.settings import FitConfig
from dichroic.studies.experiments import digits
from dichroic.studies.experiments.references import oracle_wiener

__all__ = ["demo", "scores"]


def demo(out: str | Path = "runs/demo", progress: Progress | None = None) -> Run:
    """Fits digits over grass; a demo that was started in the same folder is continued.

    The observations are written into the run folder as a problem file, so that every command works on the run.
    """
    data = Path(out) / "data"
    if not (data / "held_out" / "problem.toml").is_file():
        problem, held_out = digits.grassy_digits()
        file = save_problem(problem, data)
        file.write_text(f'held_out = "held_out"\n{file.read_text(encoding="utf-8")}', encoding="utf-8")
        save_problem(held_out, data / "held_out")
    loaded = load_problem(data)
    config = FitConfig.model_validate(getattr(digits, "DEMO_FIT", {}))
    held_out = loaded.held_out
    return fit(loaded.problem, config, out=out, held_out=held_out, progress=progress, source_file=loaded.path)


def scores(run: Run, draws: int = 32) -> dict[str, dict[str, float]]:
    """PSNR of the held-out digits, in dB, for images in [0, 1]: of the posterior mean, and of single draws.

    Beside what the run learned: subtracting the mean background; the best linear estimate with the true means and
    covariances; and the Gaussian stage of the run.
    """
    held_out = run.held_out
    assert held_out is not None and run.gaussian is not None
    subtracted = MeanSubtraction.fit(run.problem).separate(held_out, draws=0).mean("mix", "digit")
    table = {
        "mean subtraction": {"mean": psnr(subtracted, held_out.views["mix"].truth["digit"])},
        "Wiener filter, true covariances": {"mean": oracle_wiener(run.problem, held_out).psnr},
    }
    shapes = {s: source.real_shape for s, source in run.problem.sources.items()}
    gaussian = {s: run.gaussian.prior(s, shape, run.config.schedule) for s, shape in shapes.items()}
    mixtures = held_out.select({"mix": np.arange(len(held_out.views["mix"]))})
    for name, priors in (("Gaussian stage", gaussian), ("dichroic", run.priors)):
        found = separate(mixtures, priors, draws=draws, sampling=run.config.sampling, key=jax.random.key(0))
        table[name] = view_scores(found, mixtures)["mix"]["psnr"]["digit"]
    return table
