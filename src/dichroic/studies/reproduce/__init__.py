"""The published experiments with our method, published variants and baselines: data, fits, scores and tables."""

from dichroic.studies.reproduce.ablation import Ablation, AblationRow, ablation_names, load_ablation
from dichroic.studies.reproduce.experiment import (
    SCALES,
    Estimand,
    Experiment,
    Published,
    Scoring,
    experiment_names,
    load_experiment,
)
from dichroic.studies.reproduce.generators import GENERATORS, MissingData
from dichroic.studies.reproduce.measures import MEASURES, Estimates, Measure, Measured, measure
from dichroic.studies.reproduce.methods import METHODS, Contender, method_named
from dichroic.studies.reproduce.run import collect, reproduce, reproduce_ablation
from dichroic.studies.reproduce.studies import STUDIES
from dichroic.studies.reproduce.study import Study
from dichroic.studies.reproduce.sweep import sweep
from dichroic.studies.reproduce.table import as_markdown
from dichroic.studies.reproduce.write import write_results

__all__ = [
    "GENERATORS",
    "MEASURES",
    "METHODS",
    "SCALES",
    "STUDIES",
    "Ablation",
    "AblationRow",
    "Contender",
    "Estimand",
    "Estimates",
    "Experiment",
    "Measure",
    "Measured",
    "MissingData",
    "Published",
    "Scoring",
    "Study",
    "ablation_names",
    "as_markdown",
    "collect",
    "experiment_names",
    "load_ablation",
    "load_experiment",
    "measure",
    "method_named",
    "reproduce",
    "reproduce_ablation",
    "sweep",
    "write_results",
]
