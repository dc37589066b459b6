"""Published methods run: few laps and steps of each, on small problems of the kind that they were published for."""

import numpy as np
import pytest

from dichroic.run import fit
from dichroic.settings import PUBLISHED, preset
from dichroic.studies.experiments import contrastive, masked_digits

TINY = {
    "laps": 2,
    "draws": 1,
    "network": {"kind": "mlp", "width": 16, "depth": 1, "embedding": 8},
    "training": {"steps": 16, "batch": 32},
}
# network evaluations of a draw with 3 steps: one Jacobian product to every forward pass
EVALUATIONS = {"diem": 2 * (3 + 1), "ddprism": 2 * (2 * 3 + 1), "ddprism-gibbs": 2 * (2 * 3 + 1)}


def test_every_published_method_is_run():
    assert set(PUBLISHED) == set(EVALUATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_run(name, tmp_path):
    fewer = {"steps": 3, "warm_steps": 3}
    fewer = {"rounds": 2, "inner": fewer} if "gibbs" in name else fewer
    config = preset(name, {**TINY, "sampling": fewer})
    if name == "diem":
        problem = masked_digits(0.5)[0].select({"masked": np.arange(64)})
    else:
        problem = contrastive(64, dim=3)[0]
    run = fit(problem, config, out=tmp_path / "run")
    stages = ["joint"] if name == "diem" else list(problem.sources)
    assert [(r["stage"], r["lap"]) for r in run.records] == [(stage, lap) for stage in stages for lap in range(3)]
    for record in run.records:
        for view, drawn in record["views"].items():
            rounds = 2 if "gibbs" in name and view == "view2" else 1  # a source by itself is drawn once
            assert drawn["evaluations"] == rounds * EVALUATIONS[name] and drawn["diverged"] < 0.5
    x = run.sample(next(iter(problem.sources)), 8)
    assert np.isfinite(x).all()
