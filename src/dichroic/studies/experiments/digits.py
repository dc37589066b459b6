r"""The demo: small handwritten digits over a real photograph of grass, 8 x 8 pixels.

A little brother of DDPRISM's Grassy MNIST (arXiv 2510.05205, section 5.2) that comes with the installed packages,
scikit-learn's digits and scikit-image's grass. Both sources lie in [0, 1]:

    view `grass`:  y = grass               + 0.01 n
    view `mix`:    y = grass + 0.5 digit   + 0.01 n
"""

from collections.abc import Sequence

import numpy as np

from dichroic.problem import Problem, Source, View
from dichroic.studies.experiments.grass import crop, grass_bands

__all__ = ["DEMO_FIT", "grassy_digits", "labelled_digits"]

SIZE = 8

# settings of `dichroic demo`: what two cores do in the minutes a demo may take
DEMO_FIT = {
    "plan": "joint",
    "laps": 12,
    "patience": 0,
    "held_out_limit": 288,
    "components": {"looser": [2.5, 1.0]},
    "training": {"steps": 768, "batch": 256},
    "sampling": {"step": "decoupled", "steps": 32, "warm_steps": 24, "restart": 3.0, "cold_laps": 1, "batch": 144},
}


def grassy_digits(
    classes: Sequence[int] = (0, 1),
    n_grass: int = 8192,
    repeats: int = 8,
    seed: int = 0,
    *,
    amplitude: float = 0.5,
    noise: float = 0.01,
    scale: float = 1.0,
    held_out: float = 0.2,
    rounds: int = 4,
) -> tuple[Problem, Problem]:
    """Digits over grass, with truth, and a held-out problem that shares with it neither a digit nor a pixel of grass.

    The photograph is cut into strips of columns that go in turn to the grass view, the training mixtures and everything
    held out, `rounds` times over, so that all three see the same light (with one round they do not, and a prior learned
    from one side of the photograph is wrong for the other). Of the 360 zeros and ones 72 are held out. Each digit
    occurs `repeats` times, every time over another crop of grass.

    **Arguments:** `classes`, the digits to take; `n_grass`, observations of the grass view (a fifth as many held out);
    `amplitude`, of the digit; `scale`, of the photograph; `held_out`, the share of digits held out.

    **Returns** `(problem, held_out)`, sources `grass` and `digit` of shape `(8, 8, 1)`.

    >>> problem, held_out = grassy_digits(repeats=2)
    >>> len(problem.views["mix"]), len(held_out.views["mix"])
    (576, 144)
    """
    rng = np.random.default_rng(seed)
    digits = rng.permutation(_digits(classes))
    n_held = round(held_out * len(digits))
    if not 0 < n_held < len(digits):
        raise ValueError(f"grassy_digits: {held_out} of {len(digits)} digits leaves none to train on or none held out")
    bands = grass_bands(SIZE, (scale,), rounds=rounds)

    def grass(band: int, n: int) -> np.ndarray:
        return (crop(rng, bands[band], n, SIZE) / np.float32(255))[..., None]

    def problem(background: np.ndarray, under: np.ndarray, digit: np.ndarray) -> Problem:
        def observe(clean: np.ndarray) -> np.ndarray:
            return clean + np.float32(noise) * rng.standard_normal(clean.shape, dtype=np.float32)

        views = {
            "grass": View(observe(background), {"grass": 1.0}, noise, truth={"grass": background}),
            "mix": View(
                observe(under + np.float32(amplitude) * digit),
                {"grass": 1.0, "digit": amplitude},
                noise,
                truth={"grass": under, "digit": digit},
            ),
        }
        shape = (SIZE, SIZE, 1)
        sources = {"grass": Source(shape, symmetry=["shift"], range=(0, 1)), "digit": Source(shape, range=(0, 1))}
        return Problem(sources, views, "Digits over grass")

    parts = []
    for chosen, n, band in ((digits[n_held:], n_grass, (0, 1)), (digits[:n_held], max(1, n_grass // 5), (2, 2))):
        repeated = rng.permutation(np.tile(chosen, (repeats, 1, 1, 1)))
        parts.append(problem(grass(band[0], n), grass(band[1], len(repeated)), repeated))
    return parts[0], parts[1]


def labelled_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits in [0, 1], shape `(n, 8, 8, 1)`, and which they are."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels, np.float32).reshape(-1, SIZE, SIZE, 1) / 16, np.asarray(labels)


def _digits(classes: Sequence[int]) -> np.ndarray:
    images, labels = labelled_digits()
    chosen = images[np.isin(labels, list(classes))]
    if not len(chosen):
        raise ValueError(f"grassy_digits: no digit in {list(classes)}; expected numbers from 0 to 9")
    return chosen
