r"""Pulse-shaped QPSK under OFDM, at stated ratios of signal to interference,

.. math:: y = x + \kappa n, \qquad \mathrm{SIR} = \mathrm E|x|^2 / \mathrm E|\kappa n|^2,

without noise: two sources, one view for every ratio. Signals are those of the published study, whose symbols are 16
samples long with a pulse of four of them (roll-off 0.5); OFDM has 64 carriers, there 56 of them active, a prefix of 16
samples, windows that begin anywhere and a random phase.

Source: T. Jayashankar, *Score Estimation for Generative Modeling*, MIT 2025, section 5.6, and the released programs.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from dichroic.diffusion import Symbols, describe_prior
from dichroic.problem import Problem, Source, View, as_complex

__all__ = ["SIGNAL", "SIRS", "gain", "interference", "radio_mixtures"]

SIRS = (-24.0, -21.0, -18.0, -15.0, -12.0, -9.0, -6.0, -3.0)
"""The published ratios, dB."""

SIGNAL: dict[str, Any] = {"alphabet": "qpsk", "pulse": "rrc", "samples": 16, "rolloff": 0.5, "span": 4}
"""The prior of the signal of interest, as a problem file describes it."""


def interference(
    alphabet: Literal["bpsk", "qpsk"] = "qpsk", prefix: bool = False, carriers: str | None = None
) -> dict[str, Any]:
    """The prior of the interference, as a problem file describes it.

    **Arguments:** `prefix`, whether as published: 56 carriers, a prefix, a window that begins anywhere, any phase; else
    all 64 carriers, synchronous, the phase known; `carriers`, "all" or "wifi" in place of those.
    """
    table = {"alphabet": alphabet, "ofdm": 64, "carriers": carriers or ("wifi" if prefix else "all")}
    return {**table, "prefix": 16, "offset": True, "phase": True} if prefix else table


def gain(sir: float, signal: Symbols, other: Symbols) -> float:
    r"""The :math:`\kappa = 10^{-\mathrm{SIR}/20} \sqrt{P_x / P_n}` of a ratio in dB."""
    return float(10 ** (-sir / 20) * (signal.power / other.power) ** 0.5)


def radio_mixtures(
    n: int,
    held_out: int = 0,
    seed: int = 0,
    *,
    sir: Sequence[float] = SIRS,
    length: int = 2560,
    alphabet: Literal["bpsk", "qpsk"] = "qpsk",
    prefix: bool = False,
    carriers: str | None = None,
) -> tuple[Problem, Problem | None]:
    """Mixtures with truth, `n` in every view `"SIR -24 dB"`, ...; arguments as in `interference`.

    **Arguments:** `held_out`, mixtures per view of the second problem; `sir`, ratios in dB; `length`, samples.

    **Returns:** the problem, with sources `signal` and `interference`, and one of fresh mixtures, None where `held_out`
    is 0.
    """
    shape = (length, 2)
    tables = {"signal": SIGNAL, "interference": interference(alphabet, prefix, carriers)}
    priors = {s: describe_prior(table, shape, True) for s, table in tables.items()}
    source, key = Source((length,), dtype=complex), jax.random.key(seed)

    def draw(count: int, part: int) -> Problem:
        views = {}
        for number, ratio in enumerate(sir):
            keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, part), number))
            x, i = (
                as_complex(prior.sample(count, key=k)).astype(np.complex64)
                for k, prior in zip(keys, priors.values(), strict=True)
            )
            kappa = gain(float(ratio), *priors.values())  # pyright: ignore
            truth = {"signal": x, "interference": i}
            views[f"SIR {ratio:g} dB"] = View(
                x + np.float32(kappa) * i, {"signal": 1.0, "interference": kappa}, 0.0, truth=truth
            )
        kind = f"OFDM, {alphabet.upper()}" + (", prefix, windows and phases at random" if prefix else ", synchronous")
        return Problem(dict.fromkeys(tables, source), views, f"Pulse-shaped QPSK under {kind}")

    return draw(n, 1), draw(held_out, 2) if held_out else None
