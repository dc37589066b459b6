"""How the fit went: curves over laps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dichroic.report.material import Material
from dichroic.report.theme import INK, MUTED, Figure, colour, panel

__all__ = ["convergence_figures"]

Curve = tuple[str, np.ndarray, dict[str, Any]]  # label, one value per record, style


def convergence_figures(material: Material) -> list[Figure]:
    """Prediction, loss, chi-square, PSNR, failures, time, and the Gaussian stage."""
    records = material.records
    figures = [_gaussian(material)]
    if records:
        makers = (_prediction, _law, _area, _loss, _chi_square, _psnr, _failures, _seconds)
        figures = [*(make(records) for make in makers), _gaussian(material)]
    return [figure for figure in figures if figure is not None]


def _value(record: Any, *path: str) -> float:
    """A number deep in a record, NaN where it is not."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    try:
        return float(record)  # pyright: ignore
    except (TypeError, ValueError):
        return float("nan")


def _series(records: Sequence[Any], *path: str) -> np.ndarray:
    return np.array([_value(r, *path) for r in records])


def _names(records: Sequence[Any], *path: str) -> list[str]:
    """The keys found in a table of the records, in order of first appearance."""
    found: dict[str, None] = {}
    for record in records:
        for key in path:
            record = record.get(key) if isinstance(record, dict) else None
        found.update(dict.fromkeys(record or {}))
    return list(found)


def _lap_axis(axes: Any, records: Sequence[Any]) -> None:
    """Laps as ticks; stages, where there are several, side by side with their names."""
    from matplotlib.ticker import FixedLocator

    n = len(records)
    step = max(1, -(-n // 9))
    laps = [r.get("lap", i) for i, r in enumerate(records)]
    ticks = [i for i, lap in enumerate(laps) if lap % step == 0]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticklabels([str(laps[i]) for i in ticks])
    axes.set_xlim(-0.4, max(n - 0.6, 0.6))
    axes.set_xlabel("lap")
    starts = [i for i in range(n) if i == 0 or records[i].get("stage") != records[i - 1].get("stage")]
    if len(starts) > 1:
        for i in starts:
            axes.axvline(i - 0.5, color=MUTED, linewidth=0.7)
            place = {"xycoords": ("data", "axes fraction"), "va": "top", "fontsize": 9}
            axes.annotate(str(records[i].get("stage")), (i - 0.4, 1), color=MUTED, **place)


def _best(records: Sequence[Any]) -> list[int]:
    """Positions of the laps whose priors were kept, one per stage."""
    best = []
    for stage in dict.fromkeys(r.get("stage") for r in records):
        of_stage = [(i, r) for i, r in enumerate(records) if r.get("stage") == stage]
        lap = of_stage[-1][1].get("best_lap")
        best += [i for i, r in of_stage if r.get("lap") == lap]
    return best


def _curves(
    records: Sequence[Any],
    curves: Sequence[Curve],
    label: str,
    title: str,
    caption: str,
    more: Callable[[Any], None] | None = None,
) -> Figure | None:
    curves = [c for c in curves if np.isfinite(c[1]).any()]
    if not curves:
        return None

    def draw(axes: Any) -> None:
        for name, y, style in curves:
            axes.plot(np.arange(len(y)), y, **{"marker": "o", "markersize": 3.5, **style}, label=name)
        if more is not None:
            more(axes)
        axes.set_ylabel(label)
        _lap_axis(axes, records)

    return Figure(panel(draw, title, legend=len(curves) > 1), caption, title)


def _prediction(records: Sequence[Any]) -> Figure | None:
    y, error = _series(records, "score"), np.nan_to_num(_series(records, "score_error"))
    kept = _best(records)

    def more(axes: Any) -> None:
        x = np.arange(len(y))
        axes.fill_between(x, y - error, y + error, color=colour(0), alpha=0.2, linewidth=0)
        for i in kept:
            axes.plot(
                i, y[i], "o", markersize=11, markerfacecolor="none", markeredgecolor=colour(1), markeredgewidth=1.8
            )
            side, align = (-9, "right") if i > 0.6 * len(y) else (9, "left")
            axes.annotate("used", (i, y[i]), (side, 9), textcoords="offset points", color=colour(1), ha=align)

    return _curves(
        records,
        [("prediction", y, {"color": colour(0)})],
        "prediction score",
        "Held-out prediction",
        "Error of predicting hidden values of held-out observations from their other values, in units of the noise "
        "(energy score), with the standard error of its difference from the best lap before as a band; good is a fall "
        "that levels off, and the circled lap is the one that is used, or had to prove itself (table above).",
        more,
    )


def _law(records: Sequence[Any]) -> Figure | None:
    curves: list[Curve] = []
    bands = []
    for i, v in enumerate(_names(records, "law")):
        found = [r.get("law", {}).get(v, [np.nan, np.nan]) for r in records]
        area, error = np.array(found, float).T
        curves.append((v, area, {"color": colour(i)}))
        bands.append((area, error, colour(i)))

    def more(axes: Any) -> None:
        axes.axhline(0.5, color=INK, linewidth=0.8)
        for area, error, hue in bands:
            axes.fill_between(
                np.arange(len(area)), area - 2 * error, area + 2 * error, color=hue, alpha=0.2, linewidth=0
            )

    return _curves(
        records,
        curves,
        "area under the curve",
        "Data told from simulations",
        "How well a classifier tells held-out observations from those that the priors of a lap make, view by view, "
        "with two standard errors as a band: one half (horizontal line) where it cannot, near one where every "
        "observation gives itself away. It sees what is given to the wrong source, which residuals and predictions do "
        "not. Good is a fall towards one half; a curve that stays level says that laps bring nothing more, and one "
        "that ends above where it began that the closed form was nearer to the data.",
        more,
    )


def _area(records: Sequence[Any]) -> Figure | None:
    curves = [
        (f"{when} the flow", _series(records, f"area_{when}"), {"color": colour(i)})
        for i, when in enumerate(("before", "after"))
    ]
    return _curves(
        records,
        curves,
        "area under the curve",
        "Mixtures of the pool, told from the observed ones",
        "How well a critic tells mixtures simulated with the pool from held-out observations: one half where it "
        "cannot. Where the flow of a round does not lower it, that round has brought nothing.",
    )


def _loss(records: Sequence[Any]) -> Figure | None:
    sources = _names(records, "loss")
    return _curves(
        records,
        [(s, _series(records, "loss", s), {"color": colour(i)}) for i, s in enumerate(sources)],
        "denoising loss",
        "Training loss",
        "Mean loss of each source's denoiser at the end of the training of a lap; good is a curve that has levelled "
        "off (its height means little, because the training samples change from lap to lap).",
    )


def _chi_square(records: Sequence[Any]) -> Figure | None:
    curves: list[Curve] = []
    for i, v in enumerate(_names(records, "views")):
        curves.append((v, _series(records, "views", v, "held_out", "chi_square"), {"color": colour(i)}))
        style = {"color": colour(i), "linestyle": "--", "marker": "none", "alpha": 0.8}
        curves.append((f"{v}, training", _series(records, "views", v, "chi_square"), style))
    return _curves(
        records,
        curves,
        "chi-square per value",
        "Residuals",
        "Mean squared residual of the posterior draws in units of the noise; good is 1 (horizontal line), with "
        "held-out (solid) and training observations (dashed) close together.",
        _around_one,
    )


def _around_one(axes: Any) -> None:
    """The line of what is expected, and a range in which chance does not look like a trend."""
    axes.axhline(1, color=INK, linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95), max(high, 1.05))


def _psnr(records: Sequence[Any]) -> Figure | None:
    curves: list[Curve] = []
    for v in _names(records, "views"):
        for s in _names(records, "views", v, "held_out", "psnr"):
            label = f"{s} in {v}"
            curves.append((label, _series(records, "views", v, "held_out", "psnr", s), {"color": colour(len(curves))}))
    return _curves(
        records,
        curves,
        "PSNR of draws [dB]",
        "Agreement with the truth",
        "Peak signal-to-noise ratio of single posterior draws against the known truth, which the fit never sees; good "
        "is a rise that levels off (where the data leave a source uncertain, no draw can go beyond some value).",
    )


def _failures(records: Sequence[Any]) -> Figure | None:
    curves: list[Curve] = []
    for v in _names(records, "views"):
        for key, what in (("diverged", "diverged"), ("solver_stopped", "solver stopped early")):
            share = 100 * _series(records, "views", v, key)
            if (np.nan_to_num(share) > 0).any():
                curves.append((f"{v}: {what}", share, {"color": colour(len(curves))}))
    return _curves(
        records,
        curves,
        "share of draws [%]",
        "Failed draws",
        "Draws that left the range of their source, and draws for which a linear solve stopped before it was accurate; "
        "good is zero, or a few per cent that do not grow.",
    )


def _seconds(records: Sequence[Any]) -> Figure | None:
    parts = (("m_step", "training"), ("e_step", "drawing"), ("held_out", "scoring"), ("law", "judging"))
    heights = [np.nan_to_num(_series(records, "seconds", key)) for key, _ in parts]
    if not sum(h.sum() for h in heights):
        return None

    def draw(axes: Any) -> None:
        bottom = np.zeros(len(records))
        for i, ((_, what), h) in enumerate(zip(parts, heights, strict=True)):
            axes.bar(np.arange(len(h)), h, 0.7, bottom, color=colour(i), label=what)
            bottom += h
        axes.set_ylabel("seconds")
        _lap_axis(axes, records)

    caption = "Where the time of each lap went; the first laps are longer because programs are compiled in them."
    return Figure(panel(draw, "Time per lap", legend=True), caption, "Time per lap")


def _gaussian(material: Material) -> Figure | None:
    fit = material.gaussian
    y = np.asarray(fit.log_likelihood if fit is not None else [], float)
    if fit is None or not np.isfinite(y).any():
        return None

    def draw(axes: Any) -> None:
        axes.plot(np.arange(1, len(y) + 1), y, color=colour(0), marker="o" if len(y) < 3 else None)
        axes.set_xlabel("lap of the Gaussian stage")
        axes.set_ylabel("log-likelihood per value")
        finite = y[np.isfinite(y)]
        spread = np.ptp(finite[len(finite) // 8 :]) or 1.0
        if finite[0] < finite[-1] - 20 * spread:  # the climb out of the start would flatten everything else
            axes.set_ylim(finite[len(finite) // 8] - 0.5 * spread, finite[-1] + 0.3 * spread)

    ending = "it converged" if fit.converged else "it was stopped before convergence, which is enough for a start"
    return Figure(
        panel(draw, "Gaussian stage"),
        "Log-likelihood of the first stage, which fits a Gaussian to every source exactly; it never falls, and good is "
        f"a level end ({ending}).",
        "Gaussian stage",
    )
