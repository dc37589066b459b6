"""Is the data what its owner thinks it is? Questions that need no model: noise, constants, copies, leaks."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.design.finding import Finding, worst_first
from dichroic.design.joint import check_bending
from dichroic.design.response import check_response
from dichroic.faults import samples
from dichroic.operators import Censored, PerSample, take
from dichroic.problem import Problem, View
from dichroic.problem.noise import entrywise, inner_noise

__all__ = ["check_data", "spread_over_noise", "whitened"]

_WIDEST = 1024  # values of an observation up to which the covariance of the data is looked at
_MOST_ROWS = 20_000  # observations that the noise is judged by
# what files of the fields write where nothing was measured
_SIGNS = (-99, -999, -9999, -99999, 99, 999, 9999, 99999, -32768, 32767, 65535, 1e10, 1e15, 1e20, -1e20, 1e30, -1e30)


def check_data(problem: Problem, held_out: Problem | None = None) -> list[Finding]:
    """What looks odd in the observations of a problem, the worst first. Nothing here is red."""
    found = []
    for name, view in problem.views.items():
        where = f"view '{name}'"
        for code, text in (*_noise(view), *_either_way(view), *_rounding(view), *_values(view), *_copies(view)):
            found.append(Finding("amber", where, text, code))
        if held_out is not None and name in held_out.views:
            shared = _shared(view, held_out.views[name])
            if shared:
                text = f"{shared} of {len(held_out.views[name])} held-out observations are in the training data too"
                found.append(Finding("amber", where, f"{text}: scores on them mean nothing", "DC106"))
        if (response := check_response(name, view)) is not None:
            found.append(response)
        found += check_bending(name, view)
        if len(view) < 64:
            found.append(
                Finding("green", where, f"{len(view)} observations are few to learn a population from", "DC107")
            )
        if view.truth:
            listed = ", ".join(f"'{s}'" for s in view.truth)
            found.append(
                Finding("green", where, f"the truth of {listed} is known; it is used for scores, never to learn")
            )
    return worst_first(found)


def spread_over_noise(view: View) -> float:
    """Standard deviation of the observations about their mean over that of the noise, root mean square over entries."""
    white, observed = whitened(view)
    return float(np.sqrt(_mean_square(white, observed)))


def _noise(view: View) -> Iterator[tuple[str, str]]:
    r"""The stated noise against the data.

    Whatever the sources are, whitened data has at least the variance of white noise, 1, in every direction; of `n`
    observations of pure noise of `d` values the least variance is about :math:`(1 - \sqrt{d / n})^2`.
    """
    if len(view) < 8:
        return
    white, observed = whitened(view)
    n, d = white.shape
    spread = _mean_square(white, observed)
    wrong = "is it a variance, or in another unit? `noise` is a standard deviation, in the unit of y"
    if spread == 0:
        yield "DC101", "there is nothing but what all observations have in common, noise included"
    elif spread < 1 - 5 * np.sqrt(2 / (n * d)) and spread < 0.9:
        yield "DC101", f"the stated noise is {1 / np.sqrt(spread):.3g} times the spread of the data: {wrong}"
    elif spread > 1e8:
        yield "DC101", f"the stated noise is {1 / np.sqrt(spread):.1g} times the spread of the data: {wrong}"
    elif observed is None and d <= _WIDEST and n >= 4 * d:
        least = float(np.linalg.eigvalsh(np.cov(white.T).reshape(d, d))[0])
        if least < 0.7 * (1 - np.sqrt(d / n)) ** 2:
            times = 1 / np.sqrt(max(least, np.finfo(float).eps))
            text = f"the stated noise is too large: in some direction the data varies {times:.2g} times less than it"
            yield "DC101", text


def _either_way(view: View) -> Iterator[tuple[str, str]]:
    """Noise of as many numbers as there are observations, and values in each."""
    if isinstance(view.noise, PerSample) or view.event_shape != (len(view),) or len(view) < 2:
        return
    for name, value in entrywise(inner_noise(view.noise)).items():
        if np.shape(value) == view.event_shape and np.ptp(np.asarray(value)) > 0:
            text = f"there are as many observations as values in each, {len(view)}: `{name}` is taken as one number"
            yield "DC109", f"{text} per value; if it is one per observation, say so with PerSample (per_sample = true)"


def _rounding(view: View) -> Iterator[tuple[str, str]]:
    """Numbers under a large offset lose their digits in single precision, in which all is computed."""
    noise = inner_noise(view.gaussian.noise).deviations()
    least = float(noise.min()) if noise is not None else 0.0
    lost = float(np.abs(view.y).max(initial=0)) * float(np.finfo(np.float32).eps) / 2
    if lost > 0.1 * least > 0:
        yield (
            "DC108",
            (
                f"values up to {float(np.abs(view.y).max()):.3g} are rounded by up to {lost:.2g} in single precision, "
                f"beside noise of {least:.2g}: subtract a constant from y, or use a coarser unit"
            ),
        )


def _values(view: View) -> Iterator[tuple[str, str]]:
    """Numbers that stand for something else: missing data, saturation, failures."""
    y, observed = view.y.reshape(len(view), -1), _flat_mask(view)
    values = y[observed] if observed is not None else y.ravel()
    if np.iscomplexobj(values):
        values = np.concatenate([np.real(values), np.imag(values)])
    if isinstance(law := inner_noise(view.noise), Censored):
        values = values[~np.isin(values, law.clipped)]  # where they are said to be clipped, many are
        if not values.size:
            return
    common, counts = np.unique(values, return_counts=True)
    often = int(counts.argmax())
    # in data that is rounded, counts say, all values repeat themselves
    if counts[often] > max(0.02 * len(values), 3, 10 * np.delete(counts, often).max(initial=0)):
        ends = (0, common[0], common[-1])
        kind = "where data is missing" if common[often] in ends else "if it stands for something else"
        share = f"{counts[often] / len(values):.1%} of the values are exactly {common[often]:g}"
        yield "DC102", f"{share}, which noisy data never is so often: write NaN {kind}"
    low, middle, high = np.percentile(values, [25, 50, 75])
    far = np.abs(values - middle) > 1000 * (high - low)
    if high > low and far.any():
        worst = values[far][np.abs(values[far] - middle).argmax()]
        yield "DC103", f"{int(far.sum())} values are more than 1000 times the usual spread away, such as {worst:g}"
    elif high > low and (
        signs := [v for v in _SIGNS if abs(v - middle) > 10 * (high - low) and _alone(v, common, middle)]
    ):
        count = int(np.isin(values, signs).sum())
        text = (
            f"{count} values are {' or '.join(f'{v:g}' for v in signs)}, far from all others: numbers that often stand"
        )
        yield "DC103", f"{text} for missing data; write NaN if these do"
    if len(view) >= 8:
        constant = (y == y[:1]).all(0) & (True if observed is None else observed.all(0))
        if constant.any() and not constant.all():
            text = (
                f"{int(constant.sum())} of {y.shape[1]} entries are the same in every observation: where nothing was "
                "measured (a dead pixel) mark them missing; if it is what was measured (a count of zero), keep them"
            )
            yield "DC104", text


def _alone(sign: float | int, values: np.ndarray, middle: float | int) -> bool:
    """Whether a value is there and no other on half of the way from the middle to it, as where data reach that far."""
    far = values[np.abs(values - sign) < abs(sign - middle) / 2]
    return bool(sign in far and np.isin(far, _SIGNS).all())


def _copies(view: View) -> Iterator[tuple[str, str]]:
    seen: dict[bytes, int] = {}
    again = [i for i, row in enumerate(_rows(view)) if seen.setdefault(row, i) != i]
    if again:
        more = f"{samples(np.asarray(again), ('repeats', 'repeat'))} an earlier one exactly"
        yield "DC105", f"{len(again)} of {len(view)} observations are copies ({more}): noise never repeats itself"


def _shared(view: View, held_out: View) -> int:
    known = set(_rows(view))
    return sum(row in known for row in _rows(held_out))


def _rows(view: View) -> list[bytes]:
    mask = _flat_mask(view)
    y = view.y.reshape(len(view), -1).astype(np.result_type(view.y, np.float32))
    return [y[i].tobytes() if mask is None else y[i].tobytes() + mask[i].tobytes() for i in range(len(y))]


def whitened(view: View) -> tuple[np.ndarray, np.ndarray | None]:
    """Observations minus their mean in units of the noise, real and imaginary parts side by side; and the mask."""
    view = view.select(np.arange(min(len(view), _MOST_ROWS))).gaussian
    n, observed = len(view), _flat_mask(view)
    y = view.y.reshape(n, -1)
    if observed is None:
        y = y - y.mean(0)
    else:
        y = np.where(observed, y - y.sum(0) / np.maximum(observed.sum(0), 1), 0)
    if np.iscomplexobj(y):
        y = y.astype(np.complex64)
    noise = jax.tree.map(np.asarray, view.noise)
    white = np.array(_in_units_of(noise, y.reshape(view.y.shape))).reshape(n, -1)
    if np.iscomplexobj(white):
        white = np.concatenate([np.real(white), np.imag(white)], axis=1)
        observed = None if observed is None else np.concatenate([observed, observed], axis=1)
    return white.astype(float), observed


@eqx.filter_jit
def _in_units_of(noise, y):
    return jax.vmap(lambda i: take(noise, i).whiten(jnp.asarray(y)[i]))(jnp.arange(len(y)))


def _mean_square(white: np.ndarray, observed: np.ndarray | None) -> float:
    count = white.size if observed is None else observed.sum()
    return float((white**2).sum() / max(count, 1)) * len(white) / max(len(white) - 1, 1)


def _flat_mask(view: View) -> np.ndarray | None:
    return None if view.observed is None else np.asarray(view.observed).reshape(len(view), -1)
