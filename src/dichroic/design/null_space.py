"""What a pattern of the null space looks like, and what would make it visible: in words."""

from collections.abc import Mapping

import numpy as np

from dichroic.design.spectrum import Direction

__all__ = ["describe_direction", "fixes", "pattern_in_words"]

_NAMED = 8  # entries of a vector that are listed one by one


def pattern_in_words(x: np.ndarray) -> str:
    """`a constant level`, `entry 3`, `0.71 [1] − 0.70 [4]`, `a slow variation`, `fine detail` or `a pattern`."""
    x = np.asarray(x, float)
    size = float(np.linalg.norm(x))
    flat = x.ravel() / max(size, 1e-300)
    if abs(flat.sum()) > 0.98 * np.sqrt(flat.size):
        return "a constant level"
    large = np.flatnonzero(np.abs(flat) > 0.995)
    if len(large):
        place = ", ".join(str(int(i)) for i in np.unravel_index(large[0], x.shape))
        return f"entry {place}" if x.ndim == 1 else f"pixel ({place})"
    if x.ndim == 1 and flat.size <= _NAMED:
        terms = [f"{'−' if a < 0 else '+'} {abs(a):.2f} [{i}]" for i, a in enumerate(flat) if abs(a) > 0.05]
        return " ".join(terms).removeprefix("+ ")
    steps = [np.diff(x, axis=axis) for axis in range(min(x.ndim, 2)) if x.shape[axis] > 1]
    roughness = sum(float(np.sum(step**2)) for step in steps) / max(size**2 * len(steps), 1e-300)
    return "fine detail" if roughness > 1 else "a slow variation" if roughness < 0.1 else "a pattern"


def describe_direction(direction: Direction, sizes: Mapping[str, int]) -> str:
    """One sentence about a direction without information."""
    names, count = direction.sources, direction.count
    first = names[0]
    words = pattern_in_words(direction.pattern[first])
    if direction.kind == "dead":
        if count == sizes[first]:
            return f"nothing of '{first}' is in any observation"
        return f"{count} of {sizes[first]} entries of '{first}' are in no observation"
    if direction.kind == "flat":
        many = (
            f"{count} of {sizes[first]} patterns of '{first}' leave"
            if count > 1
            else f"one pattern of '{first}' leaves"
        )
        return f"{many} all data unchanged, such as {words}"
    others = " and ".join(f"'{s}'" for s in names[1:])
    signs = [
        np.sum(direction.pattern[first] * direction.pattern[s]) < 0 for s in names[1:] if _alike(direction, first, s)
    ]
    how = (
        f"can move from {others} to '{first}'"
        if signs and all(signs)
        else f"of '{first}' can be made up for by {others}"
    )
    many = f"{count:,} patterns" if count > 1 else "one pattern"
    return f"{many} {how} without changing any data, such as {words}"


def _alike(direction: Direction, s: str, t: str) -> bool:
    return direction.pattern[s].shape == direction.pattern[t].shape


def fixes(direction: Direction, with_view: Mapping[str, float]) -> list[str]:
    """What would make a direction visible. `with_view`: the condition with one more view, of a source alone."""
    names = direction.sources
    first = names[0]
    if direction.kind == "dead":
        return [
            f"add a view, or observations with another mask, in which these entries of '{first}' are measured",
            f"leave them out of '{first}': a smaller shape, if they are nowhere of interest",
            f"give '{first}' a known prior (`prior = \"file\"`)",
        ]
    if direction.kind == "flat":
        return [
            f"add a view in which '{first}' is not reduced in this way, or reduced in another: a finer grid, another "
            "blur, other frequencies",
            f"let the operator of '{first}' differ between observations: shifts, other blocks, other masks",
            f"declare '{first}' on the coarser grid that is observed",
            f"give '{first}' a known prior (`prior = \"file\"`)",
        ]
    listed = " and ".join(f"'{s}'" for s in names)
    best = sorted(names, key=lambda s: with_view.get(s, np.inf))
    known = [f"of '{s}' alone (the condition would be {with_view[s]:.2g})" for s in best if _useful(with_view, s)]
    view = " or ".join(known) if known else " or ".join(f"of '{s}' alone" for s in names)
    return [
        f"add a view {view}, or with another ratio of the amplitudes of {listed}",
        f"let the operators of {listed} differ from observation to observation, independently of each other",
        'give one of them a known prior (`prior = "file"`), learned elsewhere or from a view of its own',
        f"declare {listed} as one source, if nothing but their sum is of interest",
    ]


def _useful(with_view: Mapping[str, float], source: str) -> bool:
    return bool(np.isfinite(with_view.get(source, np.inf)))
