r"""Images of which no complete one is ever seen: one source, one view (DiEM, arXiv 2405.13712, sections 5.2 and 5.3).

* :func:`masked`: every pixel is missing with a probability of its own, :math:`y_i = m_i \odot (x_i + n_i)` ;
* :func:`undersampled`: accelerated magnetic resonance, some columns of the Fourier transform,
  :math:`y_i = m_i \odot (F x_i + n_i)` .

The paper has CIFAR-10 and knees of fastMRI, which no installable package holds: :func:`masked_cifar` and
:func:`undersampled_knees` read your copies. Other images are those of scikit-learn (:func:`small_images`, 1,797 digits
of 8 x 8 pixels, always there), MNIST (:func:`mnist_images`, from a file that you fetch), or your own, in [0, 1]. The
paper's lie in [-2, 2], so that its noise of 0.001 and 0.01 is a quarter of that here. Masks are drawn once for every
image, and what was not observed is missing (NaN).
"""

from math import ceil
from pathlib import Path

import numpy as np

from dichroic.operators import FourierSample, PerSample
from dichroic.problem import Problem, Source, View
from dichroic.studies.experiments.cifar import read_cifar
from dichroic.studies.experiments.digits import _digits
from dichroic.studies.experiments.knees import read_knees
from dichroic.studies.experiments.mnist import read_mnist

__all__ = [
    "column_masks",
    "masked",
    "masked_cifar",
    "masked_digits",
    "masked_mnist",
    "mnist_images",
    "small_images",
    "undersampled",
    "undersampled_digits",
    "undersampled_knees",
    "undersampled_mnist",
]

_UNIT = 4  # length of the range [-2, 2] of the published images
_CENTRE = 60 / 320  # share of the columns that are always sampled, at acceleration 1


def masked_digits(missing: float = 0.75, n_held_out: int = 359, seed: int = 0) -> tuple[Problem, Problem]:
    """:func:`masked` digits of scikit-learn.

    >>> problem, held_out = masked_digits(0.5)
    >>> len(problem.views["masked"]), held_out.sources["image"].shape
    (1438, (8, 8, 1))
    """
    return masked(*small_images(n_held_out, seed), missing, seed)


def masked_mnist(
    mnist: str | Path, missing: float = 0.75, n: int = 60_000, n_held_out: int = 1024, seed: int = 0
) -> tuple[Problem, Problem]:
    """:func:`masked` digits of MNIST, in the file or folder `mnist`."""
    return masked(*mnist_images(mnist, n, n_held_out), missing, seed)


def masked_cifar(
    cifar: str | Path, missing: float = 0.75, n: int = 50_000, n_held_out: int = 1024, seed: int = 0
) -> tuple[Problem, Problem]:
    """:func:`masked` images of CIFAR-10, in the file or folder `cifar`; those held out are of its test part."""
    return masked(*_split("masked_cifar", read_cifar(cifar), n, n_held_out), missing, seed)


def undersampled_digits(acceleration: float = 3.0, n_held_out: int = 359, seed: int = 0) -> tuple[Problem, Problem]:
    """:func:`undersampled` digits of scikit-learn; at 8 columns an acceleration of 4 is too much already."""
    return undersampled(*small_images(n_held_out, seed), acceleration, seed)


def undersampled_mnist(
    mnist: str | Path, acceleration: float = 6.0, n: int = 60_000, n_held_out: int = 1024, seed: int = 0
) -> tuple[Problem, Problem]:
    """:func:`undersampled` digits of MNIST, in the file or folder `mnist`."""
    return undersampled(*mnist_images(mnist, n, n_held_out), acceleration, seed)


def undersampled_knees(
    knees: str | Path, acceleration: float = 6.0, n: int = 24_576, n_held_out: int = 256, seed: int = 0
) -> tuple[Problem, Problem]:
    """:func:`undersampled` slices of the knees of fastMRI in the folder `knees`; the last ones are held out."""
    return undersampled(*_split("undersampled_knees", read_knees(knees), n, n_held_out), acceleration, seed)


def small_images(n_held_out: int = 359, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits, in random order: images to learn from, and `n_held_out` others.

    **Returns** two arrays in [0, 1], shape `(n, 8, 8, 1)`.
    """
    return _split("small_images", np.random.default_rng(seed).permutation(_digits(range(10))), None, n_held_out)


def mnist_images(path: str | Path, n: int = 60_000, n_held_out: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """The first `n` images of MNIST, and the last `n_held_out`, which belong to its test part.

    **Arguments:** `path`, as for :func:`~dichroic.studies.experiments.mnist.read_mnist`.

    **Returns** two arrays in [0, 1], shape `(n, 28, 28, 1)`.
    """
    return _split("mnist_images", read_mnist(path)[0][..., None], n, n_held_out)


def masked(
    images: np.ndarray,
    held_out: np.ndarray,
    missing: float = 0.75,
    seed: int = 0,
    *,
    noise: float = 0.001 / _UNIT,
) -> tuple[Problem, Problem]:
    """Each pixel of each image is missing with probability `missing` (all its channels; published: 0.25, 0.5, 0.75).

    **Arguments:** `images`, `held_out`, shape `(n, H, W, C)`; `noise`, standard deviation.

    **Returns** `(problem, held_out)`, with truth: source `image`, view `masked`.
    """
    if not 0 <= missing < 1:
        raise ValueError(f"masked: expected a share of missing pixels from 0 to below 1, got {missing}")

    def observe(rng: np.random.Generator, x: np.ndarray) -> View:
        y = x + np.float32(noise) * rng.standard_normal(x.shape, dtype=np.float32)
        lost = rng.random((*x.shape[:3], 1)) < missing
        return View(np.where(lost, np.float32(np.nan), y), {"image": 1.0}, noise, truth={"image": x})

    title = f"Images with {100 * missing:g} % of the pixels missing"
    return _problem(title, "masked", images, seed, 1, observe), _problem(title, "masked", held_out, seed, 2, observe)


def undersampled(
    images: np.ndarray,
    held_out: np.ndarray,
    acceleration: float = 6.0,
    seed: int = 0,
    *,
    noise: float = 0.01 / _UNIT,
) -> tuple[Problem, Problem]:
    """Some columns of the orthonormal Fourier transform of every image (the published acceleration, of 320, is 6).

    **Arguments:** `images`, `held_out`, shape `(n, H, W, C)`; `acceleration`, by which :func:`column_masks` reduces
    the number of columns; `noise`, standard deviation of real and imaginary part, each.

    **Returns** `(problem, held_out)`, with truth: source `image`, view `kspace`, its observations complex.
    """

    def observe(rng: np.random.Generator, x: np.ndarray) -> View:
        shape = x.shape[1:]
        kept = np.broadcast_to(column_masks(rng, len(x), shape[1], acceleration)[:, None], x.shape[:3])
        parts = noise * rng.standard_normal((2, *x.shape), dtype=np.float32)
        y = np.fft.fft2(x, axes=(1, 2), norm="ortho") + parts[0] + 1j * parts[1]
        y = np.where(kept[..., None], y, np.nan).astype(np.complex64)
        operator = PerSample(FourierSample(mask=kept.astype(np.float32), in_shape=shape))
        return View(y, {"image": operator}, noise, truth={"image": x})

    title = f"Images seen in 1/{acceleration:g} of the columns of their Fourier transform"
    return _problem(title, "kspace", images, seed, 1, observe), _problem(title, "kspace", held_out, seed, 2, observe)


def column_masks(rng: np.random.Generator, n: int, width: int, acceleration: float) -> np.ndarray:
    r"""Which columns of the Fourier transform are sampled: the :math:`c = 2 \lceil 3 W / 16 R \rceil` around frequency
    zero always, each other one with the probability that makes the expected number :math:`W / R`.

    **Returns** booleans, shape `(n, width)`, in the order of `numpy.fft`, zero frequency first.

    **Raises:** `ValueError` for an acceleration below 1, or one so large that all masks would be the same, the centre.
    """
    if not acceleration >= 1:
        raise ValueError(f"column_masks: expected an acceleration of at least 1, got {acceleration}")
    centre, expected = 2 * ceil(_CENTRE * width / acceleration), width / acceleration
    if centre >= expected:
        raise ValueError(
            f"column_masks: an acceleration of {acceleration:g} leaves {expected:.3g} of {width} columns, and {centre} "
            "around frequency zero are always sampled; choose a smaller one"
        )
    distance = np.abs(np.arange(width) - width // 2 + 0.5)  # the centre: as many columns below zero as from it on
    kept = rng.random((n, width)) < (expected - centre) / (width - centre)
    return np.fft.ifftshift(kept | (distance < centre / 2), axes=1)


def _split(what: str, images: np.ndarray, n: int | None, n_held_out: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(images) - n_held_out if n is None else n
    if min(n, n_held_out) < 1 or n + n_held_out > len(images):
        raise ValueError(f"{what}: {n} and {n_held_out} held-out images asked for, of {len(images)}")
    first, last = images[:n], images[len(images) - n_held_out :]
    if images.dtype == np.uint8:
        return first / np.float32(255), last / np.float32(255)
    return first, last


def _problem(title, view, images, seed, part, observe) -> Problem:
    images = np.asarray(images, np.float32)
    if images.ndim != 4:
        raise ValueError(f"{view}: expected images of shape (n, height, width, channels), got {images.shape}")
    rng = np.random.default_rng(np.random.SeedSequence((seed, part)))
    return Problem({"image": Source(images.shape[1:])}, {view: observe(rng, images)}, title)
