"""Laws in the plane: what samples of a law, and of a part of it, score; and the whole path, in the smallest size."""

import numpy as np
import pytest

from dichroic.run import Quiet, RunError
from dichroic.studies.one_step import LAWS
from dichroic.studies.reproduce import STUDIES, as_markdown, collect, reproduce, write_results


@pytest.mark.parametrize(
    "name, parts, within", [("ring", 8, 1 - np.exp(-4.5)), ("roll", 40, None), ("grid", 25, 1 - np.exp(-4.5))]
)
def test_fresh_draws_hit_every_part_and_a_mode_alone_one(name, parts, within, rng):
    law = LAWS[name]()
    found = law.scores(law.draw(rng, 2000), law.draw(rng, 1000))
    assert (found["hit"], found["parts"]) == (parts, parts)
    assert found["smallest"] > 0.5 and abs(found["energy"]) < 0.008
    if within is not None:  # three standard deviations in the plane
        assert found["within"] == pytest.approx(within, abs=4 * (within * (1 - within) / 2000) ** 0.5)
    alone = law.scores(law.centres[:1] + law.sd * rng.standard_normal((500, 2)), law.draw(rng, 1000))
    assert alone["hit"] <= 2 and alone["energy"] > 0.1


@pytest.mark.slow
def test_a_cell_is_trained_once_and_drawn(tmp_path):
    study, name, place = STUDIES["one-step"], "ring, gan, seed 0", tmp_path / "smoke"
    work = study.cells("smoke", ["gan"], 0)[name], place / "one-step" / "gan", study.prepare("smoke", None, 0), Quiet()
    cell = study.run_cell(name, *work)
    assert study.run_cell(name, *work) == cell  # which says when it was done
    found = collect(tmp_path, "smoke")
    assert "| ring | GAN | 2 |" in as_markdown(found)
    assert place / "one-step" / "samples.png" in write_results(found, place, tmp_path / "docs")
    made = {file.name for file in (tmp_path / "docs").iterdir()}
    assert made == {
        "one_step_smoke.inc",
        "one_step_samples_smoke.png",
    }  # nothing of mixtures: there are none
    with pytest.raises(RunError, match="there is no method of one-step 'gans'"):
        reproduce(["one-step"], "smoke", tmp_path, methods=["gans"])


@pytest.mark.slow
def test_every_way_is_trained_and_drawn(tmp_path):
    found = reproduce(["one-step"], "smoke", tmp_path)
    written = {file.name for file in write_results(found, tmp_path / "smoke")}
    assert written >= {"samples.png", "digits.png"}
    table = as_markdown(found)
    assert table.count("\n| ring |") == 9 and "two halves of the data" in table and "failed" not in table
