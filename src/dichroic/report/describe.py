"""Operators, noise and settings in words."""

from typing import Any

import numpy as np

from dichroic.operators import GaussianNoise, PerSample
from dichroic.problem import View
from dichroic.problem.noise import inner_noise
from dichroic.report.pictures import nan_stat
from dichroic.settings import FitConfig

__all__ = [
    "in_words",
    "missing_share",
    "noise_in_words",
    "number",
    "settings",
    "shape_in_words",
    "signal_to_noise",
    "with_error",
]


def number(x: Any, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    try:
        value = float(x)
    except (TypeError, ValueError):
        return "–"
    if not np.isfinite(value):
        return "–"
    if abs(value) < 1e6 and (value == int(value) or abs(value) >= 10 ** (digits - 1)):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def with_error(x: float, error: float | None) -> str:
    """`1.020 ± 0.004`: both with the digits that the error leaves meaningful."""
    if error is None or not np.isfinite(error) or error <= 0 or not np.isfinite(x):
        return number(x)
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 8))
    return f"{x:,.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def shape_in_words(shape: tuple[int, ...]) -> str:
    """`8 × 8 × 1`, or `5 numbers`."""
    return f"{shape[0]:,} number{'s' * (shape[0] > 1)}" if len(shape) == 1 else " × ".join(str(side) for side in shape)


def in_words(operator: Any) -> str:
    """What an operator does to its source."""
    if isinstance(operator, PerSample):
        return _words(operator.value, True)
    return _words(operator, False)


def _words(op: Any, each: bool) -> str:
    name, per = type(op).__name__, ", one per observation" if each else ""
    if name == "PerSample":
        return _words(op.value, True)
    if name == "Joint":
        return f"by a function of {', '.join(op.tangent.sources)} together"
    if name == "Identity":
        return "as it is"
    if name == "Scale":
        return _amplitude(np.asarray(op.factor), each)
    if name == "Mask":
        return f"weighted per entry ({np.mean(np.asarray(op.weight) == 0):.0%} are zero){per}"
    if name == "Downsample":
        return f"averaged in blocks of {op.factor} × {op.factor}"
    if name == "BlockProject":
        return f"averaged in blocks of {', '.join(str(f) for f in op.factors)} pixels, on the fine grid{per}"
    if name == "Convolve":
        sides = np.shape(op.kernel)[1 if each else 0 :]
        return f"blurred by a kernel of {' × '.join(str(side) for side in sides)}{per}"
    if name == "GaussianBlur":
        return f"blurred by a Gaussian of {number(np.mean(np.asarray(op.width)))} pixels{per}"
    if name == "FourierSample":
        return f"Fourier transform, {np.mean(np.asarray(op.mask) != 0):.0%} of the frequencies sampled{per}"
    if name == "AsComplex":
        return "read as complex numbers"
    if name == "Dense":
        m, d = np.shape(op.matrix)[-2:]
        return f"{m} × {d} matrix{per}"
    if name == "LinearFunction":
        return f"function {getattr(op.function, '__name__', 'of the user').replace('<lambda>', '(unnamed)')}{per}"
    if name == "Composition":
        return f"{_words(op.inner, each)}, then {_words(op.outer, each)}"
    if name == "Sum":
        return " plus ".join(_words(term, each) for term in op.terms)
    return f"{name}{per}"


def _amplitude(factor: np.ndarray, each: bool) -> str:
    low, high = factor.min(), factor.max()
    if np.iscomplexobj(factor):
        return "times a complex number"
    if low == high:
        return "as it is" if low == 1 else f"× {number(low)}"
    return f"× {number(low)} to {number(high)}{', one per observation' if each else ''}"


def noise_in_words(view: View) -> str:
    """The stated noise of a view."""
    stated, noise = inner_noise(view.noise), view.gaussian.noise
    each, inner = isinstance(noise, PerSample), inner_noise(noise)
    name, std = type(stated).__name__, _deviations(view)
    if std is None:
        return name
    low, high = std.min(), std.max()
    size = f"σ = {number(low)}" if np.isclose(low, high, atol=0) else f"σ = {number(low)} to {number(high)}"
    kind = "" if isinstance(stated, GaussianNoise) else f"{name}, "
    kind += "correlated, " if inner.diagonal() is None else ""
    complexes = ", for real and imaginary part each" if np.iscomplexobj(view.y) else ""
    varying = ", one per observation" if each and not np.isclose(low, high, atol=0) else ""
    return f"{kind}{size}{varying}{complexes}"


def signal_to_noise(view: View) -> float:
    """Root mean square of the observed values over that of the noise."""
    std = _deviations(view)
    seen = view.y if view.observed is None else view.y[view.observed]
    if std is None or not seen.size:
        return float("nan")
    return float(
        np.sqrt(nan_stat("nanmean", np.abs(seen).astype(float) ** 2) / view.per_value / np.mean(std.astype(float) ** 2))
    )


def missing_share(view: View) -> float:
    """Share of the entries that were not observed."""
    return 0.0 if view.observed is None else float(1 - view.observed.mean())


def _deviations(view: View) -> np.ndarray | None:
    """Standard deviations of what was observed: of the rest they are fillers that say nothing."""
    noise = view.gaussian.noise
    each, std = isinstance(noise, PerSample), inner_noise(noise).deviations()
    if std is None or std.ndim <= each or view.observed is None:
        return std
    seen = view.observed.reshape(len(view), -1)
    return np.broadcast_to(std.reshape(len(view) if each else 1, -1), seen.shape)[seen]


def settings(config: FitConfig, shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, str]]:
    """The settings that matter most, each with what it says."""
    training = config.training
    laps = config.laps if isinstance(config.laps, int) else ", ".join(f"{s}: {n}" for s, n in config.laps.items())
    networks = {s: config.network_for(shape) for s, shape in shapes.items()}
    described = {
        s: ", ".join(f"{key} {value}" for key, value in c.model_dump().items() if key in ("kind", "width", "depth"))
        for s, c in networks.items()
    }
    same = len(set(described.values())) == 1
    plan = "all sources together" if config.plan == "joint" else "one source after the other"
    learning = [
        ("Plan", f"{config.plan}: {plan}"),
        (
            "Laps",
            f"at most {laps}" + (f"; ends after {config.patience} without a better score" if config.patience else ""),
        ),
        ("Training", f"{training.steps:,} steps of {training.batch:,} samples per lap and source"),
        (
            "Network",
            next(iter(described.values())).replace("kind ", "")
            if same
            else "; ".join(f"{s}: {text.replace('kind ', '')}" for s, text in described.items()),
        ),
    ]
    return [
        *([("Laps", "none: closed forms alone")] if config.laps == 0 else learning),
        ("Sampler", config.sampling.title),
        ("Draws", f"{config.draws} per held-out observation"),
        ("Seed", str(config.seed)),
        ("Precision", config.precision),
    ]
