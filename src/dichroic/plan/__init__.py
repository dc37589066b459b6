"""What a fit will cost, and which settings suit the machine."""

from dichroic.plan.cost import Estimate, estimate_costs
from dichroic.plan.slurm import batch_script
from dichroic.plan.tuning import Trial, try_settings

__all__ = [
    "Estimate",
    "Trial",
    "batch_script",
    "estimate_costs",
    "try_settings",
]
