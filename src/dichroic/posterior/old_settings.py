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
_MOST_STEPS, _LEVEL, _HANDOVER, _FINISH = 8, 0.1, 0.5, 2  # what used to be fixed, or not said


def modern(table: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A table of settings in the present form; one that is so already is given back.

    **Arguments:** `base`, settings in the present form that an old table is to be laid over: what both forms know is
    taken from there.
    """
    table, base = dict(table), dict(base or {})
    if "kind" in table or not table.keys() & _GONE or not table.keys() <= _OLD:
        return table
    if "posterior" not in table and not _lacks(table, base):
        return table
    old = {**_flat(base), **table}
    new = _method(old)
    said = ", ".join(f"{name} = {_said(table[name])}" for name in table if name in _GONE)
    warnings.warn(f"settings of an older version: {said} became kind = {_said(new['kind'])}", UserWarning, stacklevel=2)
    return new


def _lacks(table: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a table without a kind names anything that the method it is laid over does not have."""
    present = {
        "auto": {"finish_steps", *_MIXTURE},
        "candidates": {*_MIXTURE},
        "amortised": {*_PAIRS},
        "gibbs": {"rounds"},
    }.get(base.get("kind", "auto"), set())
    return not table.keys() & _GONE <= present


def _method(old: Mapping[str, Any]) -> dict[str, Any]:
    posterior, rounds = old.get("posterior", "auto"), old.get("rounds", 0)
    loop, step = _some(old, _LOOP), _step(old)
    moments = {"kind": "annealed", **step, **_some(old, (*_COUNTS, *_KRYLOV))}
    finish = old.get("finish_steps", _FINISH)
    then = {"kind": "annealed", **step, **_some(old, _KRYLOV), "steps": finish}
    match posterior:
        case "auto" | "best":
            new = {**moments, "kind": "auto"} if posterior == "best" or not rounds else moments
            if posterior == "best":
                new |= {"candidates": True, **_some(old, (*_MIXTURE, "finish_steps"))}
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
