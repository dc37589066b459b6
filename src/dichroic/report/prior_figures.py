"""What was learned about each source: draws from its prior beside posterior draws."""

from typing import Any

import numpy as np

from dichroic.closed import GaussianFit
from dichroic.formats import Axis
from dichroic.report.cells import colour_bar
from dichroic.report.material import Material, magnitudes
from dichroic.report.pictures import finite_range, kind, montage, nan_stat, picture
from dichroic.report.stretch import Scale
from dichroic.report.strips import reduced
from dichroic.report.theme import Figure, colour, dots, panel
from dichroic.report.vectors import along_axis, pairs, thin

__all__ = ["prior_figure"]

_IMAGES, _VECTORS = 32, 400
_LARGEST = 48  # pixels along a side, in a sheet of images


def prior_figure(material: Material, source: str) -> Figure | None:
    """Draws of one source: from the learned prior, from the posteriors, from the Gaussian stage."""
    shape = material.shapes[source]
    look = kind(shape)
    n = _IMAGES if look == "image" else _VECTORS
    sets = {
        "Learned prior": _learned(material, source, n),
        "Posterior draws": _posterior(material, source, n),
        "Gaussian stage": _first_guess(material, source, n),
        "Truth": _truth(material, source, n),
    }
    known = {name: x for name, x in sets.items() if x is not None and len(x)}
    if not known:
        return None
    make = {"image": _images, "line": _lines, "pairs": _pairs, "scalar": _scalars}[look]
    caption = _caption(known) + (
        " Lines are single draws; the bands hold half and nine tenths of all." if look == "line" else ""
    )
    return Figure(make(material, source, known), caption + reduced(shape), f"Source “{source}”")


def _caption(known: dict[str, Any]) -> str:
    text = "Independent draws from the learned prior of this source"
    if "Posterior draws" in known:
        text += ", and one posterior draw each of some observations; good is that these two could be one population"
    if "Gaussian stage" in known:
        text += "; draws of the Gaussian stage, the starting point, show what came after it"
    return text + "."


def _learned(material: Material, source: str, n: int) -> np.ndarray | None:
    if source not in material.priors:
        return None
    import jax

    prior = material.priors[source]
    return _shown(material, source, np.asarray(prior.sample(n, key=jax.random.key(0)), float))


def _posterior(material: Material, source: str, n: int) -> np.ndarray | None:
    """One draw each of observations of all views with the source, in equal shares."""
    found = [_finite(s.first_draws(source, 2 * n)) for s in material.separated.values() if source in s.samples]
    return _shares(found, n)


def _truth(material: Material, source: str, n: int) -> np.ndarray | None:
    known = [s.truth(source) for s in material.separated.values()]
    found = [np.asarray(x[:n], float) for x in known if x is not None]
    return _shares(found, n)


def _shares(found: list[np.ndarray], n: int) -> np.ndarray | None:
    share = -(-n // len(found)) if found else 0
    return np.concatenate([x[:share] for x in found])[:n] if found else None


def _finite(x: np.ndarray) -> np.ndarray:
    return x[np.isfinite(x.reshape(len(x), -1)).all(1)]


def _shown(material: Material, source: str, x: np.ndarray) -> np.ndarray:
    return magnitudes(x) if source in material.complexes else x


def _first_guess(material: Material, source: str, n: int) -> np.ndarray | None:
    if material.gaussian is None:
        return None
    x = _gaussian(material.gaussian, source, material.real_shapes[source], n)
    return None if x is None else _shown(material, source, x)


def _gaussian(fit: GaussianFit, source: str, shape: tuple[int, ...], n: int) -> np.ndarray | None:
    if source not in fit.populations:
        return None
    p, rng = fit.populations[source], np.random.default_rng(0)
    inside = rng.standard_normal((n, len(p.values))) * np.sqrt(np.maximum(p.values, 0))
    outside = rng.standard_normal((n, len(p.mean))) * np.sqrt(max(p.rest, 0))
    return (p.mean + inside @ p.basis.T + outside - (outside @ p.basis) @ p.basis.T).reshape(n, *shape)


def _images(material: Material, source: str, known: dict[str, np.ndarray]) -> str:
    limits = finite_range(*(known.get(name) for name in ("Learned prior", "Posterior draws", "Truth")))
    parts = []
    for name, x in known.items():
        uri = montage([picture(image, _LARGEST) for image in x], 8, limits)
        parts.append(f'<div><h4>{name}</h4><img class="px sheet" src="{uri}" alt="{name}, {len(x)} images"></div>')
    bar = colour_bar("value", Scale(limits), material.unit(source))
    return f'<div class="sheets">{"".join(parts)}</div><div class="bars">{bar}</div>'


def _axis(material: Material, source: str) -> str:
    unit = material.unit(source)
    return f"{source} [{unit}]" if unit else source


def _lines(material: Material, source: str, known: dict[str, np.ndarray]) -> str:
    flat = {name: x.reshape(len(x), -1) for name, x in known.items()}
    low, high = finite_range(*flat.values())
    size = next(iter(flat.values())).shape[1]
    at, (places, along) = thin(size), along_axis(_along(material, source), size)
    parts = []
    for number, (name, x) in enumerate(flat.items()):
        levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        q = nan_stat("nanquantile", x[:, at], levels, axis=0)

        def draw(axes: Any, x=x, number=number, q=q) -> None:
            axes.fill_between(places[at], q[0], q[4], color=colour(number), alpha=0.18, linewidth=0)
            axes.fill_between(places[at], q[1], q[3], color=colour(number), alpha=0.25, linewidth=0)
            for row in x[:3]:
                axes.plot(places[at], row[at], color=colour(number), linewidth=0.8)
            axes.set_ylim(low, high)
            axes.set_xlabel(along)
            axes.set_ylabel(_axis(material, source))

        drawn = panel(draw, f"{source}: {name}")
        parts.append(f"<div><h4>{name}</h4>{drawn}</div>")
    return f'<div class="panels">{"".join(parts)}</div>'


def _along(material: Material, source: str) -> Axis:
    """What is known of the entries of a source: what is said of those of a view that shows as many."""
    shape = material.shapes[source]
    showing = [x for x in material.separated.values() if source in x.samples and x.view is not None]
    return next((x.labels.axis(0) for x in showing if x.view and x.view.event_shape == shape), Axis())


def _pairs(material: Material, source: str, known: dict[str, np.ndarray]) -> str:
    flat = {name: x.reshape(len(x), -1) for name, x in known.items()}
    size = next(iter(flat.values())).shape[1]
    inner = [x for name, x in flat.items() if name != "Gaussian stage"] or list(flat.values())
    spans = [finite_range(*(x[:, i] for x in inner), low=0.1, high=99.9) for i in range(size)]
    spans = [(a - 0.08 * (b - a), b + 0.08 * (b - a)) for a, b in spans]
    parts = [f"<h4>{name}</h4>" for name in flat]
    for a, b in pairs(size):
        for number, (name, x) in enumerate(flat.items()):

            def draw(axes: Any, x=x, a=a, b=b, number=number) -> None:
                dots(axes, x[:, a], x[:, b], colour(number), 2.4)
                axes.set_xlim(*spans[a])
                axes.set_ylim(*spans[b])
                axes.set_xlabel(f"entry {a + 1}")
                axes.set_ylabel(f"entry {b + 1}")

            parts.append(panel(draw, f"{source}: {name}, entries {a + 1} and {b + 1}", 190, 180))
    return f'<div class="scroll"><div class="matrix" style="--columns:{len(flat)}">{"".join(parts)}</div></div>'


def _scalars(material: Material, source: str, known: dict[str, np.ndarray]) -> str:
    low, high = finite_range(*known.values(), low=0.2, high=99.8)

    def draw(axes: Any) -> None:
        edges = np.linspace(low, high, 41)
        for number, (name, x) in enumerate(known.items()):
            heights = np.histogram(x.ravel(), edges)[0] / max(x.size, 1) / (edges[1] - edges[0])
            axes.stairs(heights, edges, color=colour(number), linewidth=1.6, label=name)
        axes.set_xlabel(_axis(material, source))
        axes.set_ylabel("density")

    return f'<div class="panels">{panel(draw, f"Draws of {source}", legend=True)}</div>'
