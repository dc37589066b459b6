"""Published methods as settings: what the laps of EM, which are the same, are given to be that method.

They are presets by name, for comparisons; numbers of laps and steps, and the network, belong to an experiment more than
to a method, and are to be set with it. What the papers' programs do otherwise is left out on purpose: the Gaussian
stage is exact instead of sampled, linear solves know nothing of their neighbours in a batch, no observation is dropped
for the size of a batch, and the moving average of the weights ramps up.
"""

from typing import Any

__all__ = ["PUBLISHED"]

_ALWAYS = 1_000_000  # laps

# nothing between the Gaussian stage and the networks, which start by themselves; all observations, all laps, the last
# one; every draw from pure noise
_PLAIN = {"patience": 0, "held_out": 0.0, "residual": False, "components": {"components": 1}}
_KRYLOV = {"kind": "annealed", "covariance": "krylov", "iterations": 1}
_PC = {**_KRYLOV, "step": {"kind": "pc", "corrections": 1, "tau": 0.1}}

PUBLISHED: dict[str, dict[str, Any]] = {
    # arXiv 2405.13712, section 5.2: CIFAR-10. Of one source and one view; with more of them it is a joint DDPRISM
    "diem": {
        **_PLAIN,
        "plan": "joint",
        "laps": 32,
        "sigma_min": 1e-3,
        "sigma_max": 100.0,
        "gaussian": {"laps": 16, "ties": 0.0},
        "training": {"steps": 50_000, "batch": 256, "rate": 2e-4, "decay": "constant", "ema": 0.9999},
        "sampling": {**_KRYLOV, "step": "ancestral", "steps": 256, "cold_laps": _ALWAYS},
    },
    # arXiv 2510.05205, tables 2 and 3, the contrastive manifolds: one source after the other
    "ddprism": {
        **_PLAIN,
        "plan": "sequential",
        "laps": 64,
        "sigma_min": 1e-3,
        "sigma_max": 10.0,
        "gaussian": {"laps": 16, "ties": 0.0},
        "training": {"steps": 65_536, "batch": 1024, "rate": 1e-3, "final_rate": 1e-6, "decay": "linear", "ema": 0.0},
        "sampling": {**_PC, "steps": 16_384, "cold_laps": _ALWAYS},
    },
}
# the same with sources drawn in turn; the rounds go on where those of the lap before ended
PUBLISHED["ddprism-gibbs"] = {
    **PUBLISHED["ddprism"],
    "sampling": {
        "kind": "gibbs",
        "rounds": 64,
        "inner": {**_PC, "steps": 256, "warm_steps": 256},
        "cold_laps": 0,
        "refresh": 0.0,
    },
}
