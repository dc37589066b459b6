r"""Records from their windows: overlap-add of means and draws.

With weights :math:`w_i` that sum to 1 over the windows at an entry, means are :math:`\sum_i w_i m_i`. Draws of windows
have random numbers of their own, and a plain sum would be less scattered than a draw. So their deviations are added as

.. math:: x = \sum_i w_i m_i + \frac{\sum_i w_i (x_i - m_i)}{\sqrt{(1 - \rho) \sum_i w_i^2 + \rho}} ,

which has the variance of the windows' draws where those of two windows have the correlation :math:`\rho`. It is
measured where windows overlap: 0 for independent draws, a crossfade of constant power then, 1 for equal ones.
"""

from dataclasses import replace

import numpy as np

from dichroic.formats import Labels, Windows
from dichroic.run.folder import RunError
from dichroic.run.separation import Separation

__all__ = ["in_pieces", "stitched"]


def stitched(separation: Separation) -> Separation:
    """The same by records instead of windows, in views that have any; where records differ in length, NaN behind.

    A record's `chi_square` is the mean over its windows; where a window's draw has diverged, the others that lie there
    take its place, and nothing is known, NaN, where there is none.

    **Raises:** `RunError` where windows are missing, or a source has not the shape of the windows.
    """
    found = separation
    for view, labels in separation.labels.items():
        if labels.windows is not None:
            found = _stitch(found, view, labels, labels.windows)
    return found


def in_pieces(separation: Separation) -> Separation:
    """The same, every stretch without a gap taken for a record, in views that have some of the windows on series."""
    found = dict(separation.labels)
    for view, labels in separation.labels.items():
        windows = labels.windows
        if windows is None or windows.whole or not windows.count or len(windows.size) > 1:
            continue
        pieces, begins = windows.pieces()
        whole = labels.records or Labels(labels.unit, axes=labels.axes)
        names = np.asarray([f"{whole.name(record)}@{begin}" for record, begin in begins])
        whole = whole.select(np.asarray([record for record, _ in begins]))
        records = replace(
            whole, ids=names, columns={**whole.columns, "begin": np.asarray([begin for _, begin in begins])}
        )
        found[view] = replace(labels, windows=pieces, records=records)
    return replace(separation, labels=found)


def _stitch(separation: Separation, view: str, labels: Labels, windows: Windows) -> Separation:
    if not windows.whole:
        raise RunError(
            f"view '{view}' has {len(windows)} of {windows.count} windows, from which records cannot be put together; "
            "separate all of them: dichroic separate RUN problem.toml"
        )
    weights, axes = _weights(windows), len(windows.size)
    samples, means, appearances = {}, {}, {}
    for s in separation.samples[view]:
        draws, mean = separation.draws(view, s), separation.mean(view, s)
        if mean.shape[1 : 1 + axes] != windows.size:
            raise RunError(
                f"source '{s}' has the shape {mean.shape[1:]}, but a window of view '{view}' {windows.size}: only "
                "sources on the grid of the data can be put together"
            )
        means[s] = _add(mean, weights, windows)
        samples[s] = _add_draws(draws, mean, means[s], weights, windows)
        if s in separation.appearances.get(view, {}):
            appearances[s] = _add(separation.seen(view, s), weights, windows)
    chi_square = _by_record(separation.chi_square[view], windows)
    diverged = np.zeros(chi_square.shape, bool)
    replaced = {
        "samples": samples,
        "means": means,
        "appearances": appearances,
        "chi_square": chi_square,
        "diverged": diverged,
        "labels": labels.records or Labels(labels.unit, axes=labels.axes),
    }
    return replace(separation, **{name: {**getattr(separation, name), view: x} for name, x in replaced.items()})


def _weights(windows: Windows) -> np.ndarray:
    """Of every window and entry, smooth and summing to 1, shape `(n, *size)`."""
    shape = np.ones(())
    for side in windows.size:
        shape = shape[..., None] * np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    totals = [np.zeros(shape_) for shape_ in windows.shapes]
    for i, r in enumerate(windows.record):
        totals[r][windows.place(i)] += shape
    return np.stack([shape / totals[r][windows.place(i)] for i, r in enumerate(windows.record)])


def _add(x: np.ndarray, weights: np.ndarray, windows: Windows) -> np.ndarray:
    """The weighted sum of windows `(n, *size, ...)` as records; missing ones give their weight to the others."""
    w = np.broadcast_to(weights.reshape(weights.shape + (1,) * (x.ndim - weights.ndim)), x.shape)
    w = np.where(np.isfinite(x), w, 0)
    tail = x.shape[1 + len(windows.size) :]
    totals, sums = _blank(windows, tail, x.dtype), _blank(windows, tail, float)
    for i, r in enumerate(windows.record):
        place = (r, *windows.place(i))
        totals[place] += w[i] * np.nan_to_num(x[i])
        sums[place] += w[i]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums > 0, totals / sums, np.nan).astype(x.dtype)


def _add_draws(
    draws: np.ndarray, mean: np.ndarray, whole: np.ndarray, weights: np.ndarray, windows: Windows
) -> np.ndarray:
    rho = _correlation(draws - mean[:, None], windows)
    out = np.empty((len(windows.shapes), draws.shape[1], *whole.shape[1:]), draws.dtype)
    for k in range(draws.shape[1]):
        deviation = draws[:, k] - mean
        w = np.broadcast_to(weights.reshape(weights.shape + (1,) * (mean.ndim - weights.ndim)), mean.shape)
        w = np.where(np.isfinite(deviation), w, 0)
        tail = mean.shape[1 + len(windows.size) :]
        total = _blank(windows, tail, draws.dtype)
        first, second = _blank(windows, tail, float), _blank(windows, tail, float)
        for i, r in enumerate(windows.record):
            place = (r, *windows.place(i))
            total[place] += w[i] * np.nan_to_num(deviation[i])
            first[place] += w[i]
            second[place] += w[i] ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.sqrt((1 - rho) * second + rho * first**2)
            out[:, k] = np.where(first > 0, whole + total / scale, np.nan)
    return out


def _correlation(deviation: np.ndarray, windows: Windows) -> float:
    """Of the draws of two windows where they overlap, between 0 and 1."""
    products = squares = 0.0
    x = np.nan_to_num(np.moveaxis(deviation, 1, -1))
    wide = np.result_type(x.dtype, float)  # holds the squares of large units
    for i in range(len(windows) - 1):
        offset = windows.start[i + 1] - windows.start[i]
        if windows.record[i + 1] != windows.record[i] or (np.abs(offset) >= np.asarray(windows.size)).any():
            continue
        pairs = list(zip(offset, windows.size, strict=True))
        a = x[i][tuple(slice(max(o, 0), side + min(o, 0)) for o, side in pairs)].astype(wide)
        b = x[i + 1][tuple(slice(max(-o, 0), side - max(o, 0)) for o, side in pairs)].astype(wide)
        products += float(np.real(a * np.conj(b)).sum())
        squares += float(np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum()))
    return min(max(products / squares, 0.0), 1.0) if squares else 0.0


def _blank(windows: Windows, tail: tuple[int, ...], dtype: object) -> np.ndarray:
    longest = np.max(np.asarray(windows.shapes), 0)
    return np.zeros((len(windows.shapes), *longest, *tail), dtype)  # pyright: ignore


def _by_record(x: np.ndarray, windows: Windows) -> np.ndarray:
    return np.stack([np.asarray(x)[windows.record == r].mean(0) for r in range(len(windows.shapes))])
