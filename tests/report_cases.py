"""Problems, records and separations for reports, made by hand, without a fit."""

from pathlib import Path

import numpy as np

from dichroic.algebra import Gaussian
from dichroic.closed import GaussianFit
from dichroic.operators import Dense
from dichroic.problem import Problem, Source, View
from dichroic.run.separation_writer import SeparationWriter

DRAWS = 4


def make_problem(shape, n=12, truth=True, missing=False, names=("sky", "star"), unit="mJy", seed=0):
    """View `alone` holds the first source, `mix` both."""
    rng = np.random.default_rng(seed)
    sky, under, star = rng.normal(size=(3, n, *shape)).astype(np.float32)
    noise = 0.1 * rng.normal(size=(2, n, *shape)).astype(np.float32)
    y = [sky + noise[0], under + 0.5 * star + noise[1]]
    if missing:
        for values in y:
            values.reshape(n, -1)[:, 0] = np.nan
    a, b = names
    views = {
        "alone": View(y[0], {a: 1.0}, 0.1, truth={a: sky} if truth else {}),
        "mix": View(y[1], {a: 1.0, b: 0.5}, 0.1, truth={a: under, b: star} if truth else {}),
    }
    return Problem({a: Source(shape, unit), b: Source(shape)}, views, "A <test> & more")


def make_two_shapes(n=12):
    """An image and a vector, seen through matrices."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(n, 7)).astype(np.float32)
    image = Dense(rng.normal(size=(7, 36)).astype(np.float32), (6, 6))
    vector = Dense(rng.normal(size=(7, 9)).astype(np.float32))
    views = {"mix": View(y, {"image": image, "vector": vector}, 0.3)}
    return Problem({"image": Source((6, 6)), "vector": Source((9,))}, views)


def make_gaussian(problem):
    populations = {
        s: Gaussian(np.zeros(d := int(np.prod(source.real_shape))), np.eye(d, 1), np.ones(1), 0.5)
        for s, source in problem.sources.items()
    }
    return GaussianFit(populations, [-3.0, -2.0, -1.9], True)


def make_records(problem, laps=3, score=True):
    def view(name, k):
        psnr = {s: 10.0 + k for s in problem.views[name].mixing} if problem.views[name].truth else {}
        numbers = {"chi_square": 1.0 + 0.01 * k, "diverged": 0.0, "solver_stopped": 0.02}
        return {**numbers, "held_out": {**numbers, **({"psnr": psnr} if psnr else {}), "prediction": 2.0}}

    return [
        {
            "stage": "joint",
            "lap": k,
            "views": {name: view(name, k) for name in problem.views},
            "loss": {s: 0.7 for s in problem.sources} if k else {},
            "seconds": {"m_step": 1.0, "e_step": 2.0, "held_out": 0.5},
            **({"score": 0.5 / (1 + k) ** 2, "score_error": 0.02} if score else {}),
            **({"law": {name: [0.51 + 0.1 * (laps - k), 0.02] for name in problem.views}} if score else {}),
            "best_lap": k,
        }
        for k in range(laps + 1)
    ]


def separate(folder: Path, problem: Problem, diverged=None):
    """A separation with the truth, or zeros, and some spread as draws."""
    rng = np.random.default_rng(1)
    shapes = {
        v: (len(view), {s: problem.sources[s].real_shape for s in view.mixing}) for v, view in problem.views.items()
    }
    pairs = {s for s, source in problem.sources.items() if source.is_complex}

    class Drawn:
        pass

    with SeparationWriter(folder, shapes, DRAWS, pairs=pairs) as writer:
        for v, view in problem.views.items():
            for k in range(DRAWS):
                drawn, n = Drawn(), len(view)
                drawn.samples = {
                    s: np.asarray(view.truth.get(s, np.zeros((n, *shape)))) + 0.2 * rng.normal(size=(n, *shape))
                    for s, shape in shapes[v][1].items()
                }
                m = int(np.prod(view.event_shape))
                drawn.chi_square = rng.chisquare(m, n) / m
                drawn.diverged = np.zeros(n, bool) if diverged is None else diverged(n, k)
                for x in drawn.samples.values():
                    x[drawn.diverged] = np.nan
                drawn.evaluations, drawn.instrument = (lambda draws: 48), {}
                writer.write(v, k, drawn)
