r"""Galaxies and what lies on the same sightlines (after DDPRISM, arXiv 2510.05205, section 5.3).

    view `sky`:       y = sky          + n       at random places of the Hubble deep field
    view `galaxies`:  y = sky + galaxy + n       centred on galaxies

The paper takes COSMOS mosaics and a catalogue; here both are the picture of the Hubble eXtreme Deep Field that comes
with scikit-image (NASA, public domain), 872 x 1000 pixels of 8 bits, a few hundred bright galaxies. Its brightness was
stretched for display and is no linear flux. From it, less its median, comes the flux :math:`f`, and as in the paper
the sources are additive in :math:`0.2\, \mathrm{arcsinh}(f / 0.1)`.

* :func:`hubble_galaxies`: the picture's own galaxies. Nobody knows what they look like alone, so there is no truth.
* :func:`model_galaxies`: Sérsic galaxies added to random sightlines of the picture, with truth.

In both, noise is added as a stack of dithered exposures has it: :math:`\sigma_p = \sigma \sqrt{4 / N_p}` where
:math:`N_p` of 4 exposures reach pixel `p`, the others being lost to cosmic rays and to the gap between two chips; a
pixel that none reaches is missing. What grain the picture has by itself belongs to the sky. The views take their
sightlines from separate bands of the picture, and held-out observations come from a third one. Sightlines lie anywhere
in their band: the paper's keep away from its galaxies, but what lies before and behind a galaxy knows no catalogue.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dichroic.operators import PerSample
from dichroic.problem import Problem, Source, View
from dichroic.studies.experiments.grass import crop, grass_bands, turn
from dichroic.studies.experiments.photographs import photograph

__all__ = ["EXPOSURES", "LEVEL", "arcsinh", "exposures", "find_galaxies", "hubble_galaxies", "model_galaxies", "sersic"]

FIELD, LEVEL = "hubble_deep_field.jpg", 13  # the picture and its median
BANDS = (0.3, 0.5, 0.2)  # shares of the width: sky view, galaxies, held out
SMOOTHING, BRIGHT, APART = 2.0, 0.3, 8  # pixels, flux above the median, pixels: 235 galaxies in all
AMPLITUDE, SOFTENING = 0.2, 0.1
EXPOSURES = 4
_LOST, _GAP, _GAP_WIDTH = 0.05, 0.2, 3  # cosmic rays, share of pixels; gaps, share of exposures; pixels


def arcsinh(flux: np.ndarray) -> np.ndarray:
    r"""The published scaling :math:`\mathrm{clip}(0.2\, \mathrm{arcsinh}(f / 0.1), -2, 2)`."""
    return np.clip(AMPLITUDE * np.arcsinh(flux / SOFTENING), -2, 2).astype(np.float32)


def hubble_galaxies(
    n_sky: int = 8192,
    n_galaxies: int = 2048,
    n_held_out: int = 256,
    seed: int = 0,
    *,
    size: int = 32,
    noise: float = 0.02,
) -> tuple[Problem, Problem]:
    """Cut-outs centred on the bright galaxies of the picture, turned and mirrored at random, and random sightlines.

    At 32 pixels, 125 galaxies are there to learn from and 36 are held out, each in up to eight orientations and every
    time with new noise.

    **Arguments:** `n_held_out`, held-out observations of either view; `size`, of the cut-outs, in pixels; `noise`, its
    standard deviation where all exposures reach.

    **Returns** `(problem, held_out)`, sources `sky` and `galaxy` of shape `(size, size, 1)`, without truth.
    """
    bands = _bands(size)

    def views(rng: np.random.Generator, band: tuple[int, int], n: tuple[int, int]) -> dict[str, View]:
        found = find_galaxies(bands[band[1]], size)
        if not len(found):
            raise ValueError(f"hubble_galaxies: none fits into cut-outs of {size} pixels; choose a smaller size")
        centred = turn(rng, found[rng.integers(len(found), size=n[1])])
        return {
            "sky": _observe(rng, _sightlines(rng, bands[band[0]], n[0], size), ["sky"], noise),
            "galaxies": _observe(rng, _scaled(centred), ["sky", "galaxy"], noise),
        }

    return _both("Galaxies of the Hubble deep field", views, size, (n_sky, n_galaxies, n_held_out), seed)


def model_galaxies(
    n_sky: int = 8192,
    n_galaxies: int = 8192,
    n_held_out: int = 512,
    seed: int = 0,
    *,
    size: int = 32,
    noise: float = 0.02,
) -> tuple[Problem, Problem]:
    """Sérsic galaxies (:func:`sersic`) on random sightlines of the picture, every observation with a new galaxy.

    Arguments and returns as in :func:`hubble_galaxies`, with truth.

    >>> problem, held_out = model_galaxies(100, 50, 10)
    >>> sorted(held_out.views["galaxies"].truth), problem.views["galaxies"].event_shape
    (['galaxy', 'sky'], (32, 32, 1))
    """
    bands = _bands(size)

    def views(rng: np.random.Generator, band: tuple[int, int], n: tuple[int, int]) -> dict[str, View]:
        sky, under = (_sightlines(rng, bands[b], count, size) for b, count in zip(band, n, strict=True))
        blocks = np.array_split(np.arange(n[1]), max(1, n[1] // 1024))  # drawing takes ten times the room of a result
        galaxy = np.concatenate([arcsinh(sersic(rng, len(block), size)) for block in blocks])[..., None]
        return {
            "sky": _observe(rng, sky, ["sky"], noise, {"sky": sky}),
            "galaxies": _observe(rng, under + galaxy, ["sky", "galaxy"], noise, {"sky": under, "galaxy": galaxy}),
        }

    title = "Model galaxies on sightlines of the Hubble deep field"
    return _both(title, views, size, (n_sky, n_galaxies, n_held_out), seed)


def find_galaxies(image: np.ndarray, size: int) -> np.ndarray:
    """Cut-outs of `size` pixels centred on the bright galaxies of an 8-bit picture, shape `(n, size, size)`.

    A galaxy is a maximum of the smoothed picture well above its median, at least half a cut-out from the edges.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.feature import peak_local_max

    smooth = gaussian_filter(image / 255, SMOOTHING)
    half = size // 2
    threshold = float(np.median(smooth)) + BRIGHT
    centres = peak_local_max(smooth, APART, threshold, exclude_border=half)  # pyright: ignore[reportArgumentType]
    rows, columns = centres.T
    offsets = np.arange(size) - half
    return image[rows[:, None, None] + offsets[:, None], columns[:, None, None] + offsets]


def sersic(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    r"""Random galaxies :math:`f(r) \propto \exp(-b\, (r / r_e)^{1/k})`, :math:`b = 2 k - 1/3`, with elliptical `r`.

    Index `k` from 0.5 to 4, effective radius from 1.5 to 4 pixels (as many in each octave), axis ratio from 0.3 to 1,
    any orientation, the centre within half a pixel of that of the cut-out, a blur of one pixel standard deviation, and
    a peak flux from 0.3 to 1.

    **Returns** fluxes, shape `(n, size, size)`.
    """
    from scipy.ndimage import gaussian_filter

    def uniform(low: float | int, high: float | int) -> np.ndarray:
        return rng.uniform(low, high, n)[:, None, None]

    index, ratio, angle = uniform(0.5, 4), uniform(0.3, 1), uniform(0, np.pi)
    radius, peak = np.exp(uniform(np.log(1.5), np.log(4))), uniform(0.3, 1)
    grid = np.arange(size) - size // 2
    x, y = grid - uniform(-0.5, 0.5), grid[:, None] - uniform(-0.5, 0.5)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    r = np.sqrt(along**2 + (across / ratio) ** 2 + 0.25)  # no cusp narrower than a pixel
    flux = np.exp(-(2 * index - 1 / 3) * (r / radius) ** (1 / index))
    flux = gaussian_filter(flux, 1.0, axes=(1, 2), mode="nearest")
    return peak * flux / flux.max((1, 2), keepdims=True)


def exposures(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """How many of 4 exposures reach each pixel of `n` observations, shape `(n, size, size)`."""
    reached = rng.random((EXPOSURES, n, size, size)) >= _LOST
    gap = rng.random((EXPOSURES, n)) < _GAP
    begin = rng.integers(1 - _GAP_WIDTH, size, size=(EXPOSURES, n))
    from_begin = np.arange(size) - begin[..., None]
    reached &= ~(gap[..., None] & (from_begin >= 0) & (from_begin < _GAP_WIDTH))[..., None, :]
    return reached.sum(0)


def _both(
    title: str,
    views: Callable[[np.random.Generator, tuple[int, int], tuple[int, int]], dict[str, View]],
    size: int,
    numbers: tuple[int, int, int],
    seed: int,
) -> tuple[Problem, Problem]:
    n_sky, n_galaxies, n_held_out = numbers
    shape = (size, size, 1)
    sources = {"sky": Source(shape, symmetry=["flip", "rotate"]), "galaxy": Source(shape)}

    def draw(part: int, band: tuple[int, int], n: tuple[int, int]) -> Problem:
        return Problem(sources, views(np.random.default_rng(np.random.SeedSequence((seed, part))), band, n), title)

    return draw(1, (0, 1), (n_sky, n_galaxies)), draw(2, (2, 2), (n_held_out, n_held_out))


def _observe(
    rng: np.random.Generator,
    clean: np.ndarray,
    sources: Sequence[str],
    noise: float,
    truth: Mapping[str, np.ndarray] | None = None,
) -> View:
    reached = exposures(rng, len(clean), clean.shape[1])[..., None]
    std = (noise * np.sqrt(EXPOSURES / np.maximum(reached, 1))).astype(np.float32)
    y = clean + std * rng.standard_normal(clean.shape, dtype=np.float32)
    y = np.where(reached > 0, y, np.float32(np.nan))
    return View(y, dict.fromkeys(sources, 1.0), PerSample(std), truth=truth or {})


def _bands(size: int) -> list[np.ndarray]:
    return [copies[0] for copies in grass_bands(size, bands=BANDS, image=photograph(FIELD))]


def _sightlines(rng: np.random.Generator, band: np.ndarray, n: int, size: int) -> np.ndarray:
    return _scaled(crop(rng, [band], n, size, symmetries=True))


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return arcsinh((pixels.astype(np.float32) - LEVEL) / 255)[..., None]
