"""Settings of the E-step as they were before every method had its own: one flat table with a key `posterior`."""

import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ["modern"]

_LOOP = ("batch", "cold_laps", "refresh")
_COUNTS = ("steps", "warm_steps", "restart")
_KRYLOV = ("iterations", "root_iterations")
_MIXTURE = ("components", "tuples")
_PAIRS = ("pair_steps", "pair_batch", "pair_width")
_STEP = ("corrections", "tau")
_GONE = {"posterior", "rounds", "handover", "finish_steps", *_MIXTURE, *_PAIRS, *_STEP}  # or in another place now
_OLD = {"step", *_LOOP, *_COUNTS, *_KRYLOV, *_GONE}
# what the methods know of it, beside what all of them do
_KNOWN = {
    "auto": ("step", *_COUNTS, *_KRYLOV, *_MIXTURE, "finish_steps"),
    "annealed": ("step", *_COUNTS, *_KRYLOV),
    "candidates": (*_COUNTS, *_MIXTURE),
    "amortised": ("step", *_COUNTS, *_PAIRS),
    "gibbs": ("rounds",),
}
_MOST_STEPS, _LEVEL, _HANDOVER, _FINISH = 8, 0.1, 0.5, 2  # what used to be fixed, or not said


def modern(table: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A table of settings in the present form; one that is so already is given back.

    **Arguments:** `base`, settings in the present form that an old table is to be laid over: what both forms know is
    taken from there.
    """
    table, base = dict(table), dict(base or {})
    known = {*_LOOP, *_KNOWN.get(base.get("kind", "auto"), ())}
    if "kind" in table or not table.keys() <= _OLD or ("posterior" not in table and table.keys() <= known):
        return table
    try:
        new = _method({**_flat(base), **table})
    except (TypeError, ValueError):  # values that were never any: to be said of the present form
        return table
    named = [name for name in ("posterior", "rounds") if table.get(name)] or list(table.keys() & _GONE) or list(table)
    said = ", ".join(f"{name} = {_said(table[name])}" for name in named)
    warnings.warn(f"settings of an older version: {said} became kind = {_said(new['kind'])}", UserWarning, stacklevel=2)
    return new


def _method(old: Mapping[str, Any]) -> dict[str, Any]:
    posterior, rounds = old.get("posterior", "auto"), old.get("rounds", 0)
    loop, step = _some(old, _LOOP), _step(old)
    moments = {"kind": "annealed", **step, **_some(old, (*_COUNTS, *_KRYLOV))}
    finish = old.get("finish_steps", _FINISH)
    then = {"kind": "annealed", **step, **_some(old, _KRYLOV), "steps": finish}
    match posterior:
        case "auto":
            new = moments if rounds else {**moments, "kind": "auto"}
        case "best":
            new = {**moments, "kind": "auto", "candidates": True, **_some(old, (*_MIXTURE, "finish_steps"))}
        case "candidates":
            counts = {name: min(old.get(name, _MOST_STEPS), _MOST_STEPS) for name in ("steps", "warm_steps")}
            new = {"kind": "candidates", **_some(old, ("restart", *_MIXTURE)), **counts}
            new = {"kind": "handover", "first": new, "then": then, "at": _LEVEL} if finish else new
        case "amortised":
            new = {"kind": "amortised", **step, **_some(old, (*_COUNTS, *_PAIRS))}
            at = old.get("handover", _HANDOVER)
            new = {"kind": "handover", "first": new, "then": then, "at": at} if finish else new
        case _:
            new = {**moments, "covariance": posterior}
    return {**({"kind": "gibbs", "rounds": rounds, "inner": new} if rounds else new), **loop}


def _flat(base: Mapping[str, Any]) -> dict[str, Any]:
    """What an old table may take from a new one."""
    flat = _some(base, ("step", *_LOOP, *_COUNTS, *_KRYLOV, *_MIXTURE, *_PAIRS, "finish_steps", "rounds"))
    kind, inner = base.get("kind", "auto"), base.get("inner") or base.get("first")
    if isinstance(inner, Mapping):
        flat = {**_flat(inner), **flat}
    if isinstance(flat.get("step"), Mapping):
        step = dict(flat.pop("step"))
        flat |= {"step": step.pop("kind"), **step}
    names = {"annealed": base.get("covariance", "auto"), "candidates": "candidates", "amortised": "amortised"}
    if kind in names:
        flat["posterior"] = names[kind]
    if base.get("candidates"):
        flat["posterior"] = "best"
    return flat


def _step(old: Mapping[str, Any]) -> dict[str, Any]:
    step = old.get("step")
    settings = _some(old, _STEP) if step == "pc" else {}
    if step is None:
        return {}
    return {"step": {"kind": step, **settings} if settings else step}


def _some(table: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: table[name] for name in names if name in table}


def _said(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
