"""Laws in the plane: what samples of a law, and of a part of it, score; and the whole path, in the smallest size."""

import numpy as np
import pytest

from dichroic.studies.one_step import LAWS, one_step


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


def test_a_row_is_trained_once_and_drawn(tmp_path):
    said = []
    options = {"methods": ["gan"], "parts": ["laws"], "report": said.append}
    table, files = one_step("smoke", tmp_path, docs=tmp_path / "docs", **options)
    assert "| ring | GAN | 2 |" in table and said == ["ring, gan"]
    assert [file.name for file in files] == ["one_step.md", "samples.png"] and files[0].read_text() == table
    assert {file.name for file in (tmp_path / "docs").iterdir()} == {"one_step_smoke.inc", "one_step_samples_smoke.png"}
    assert one_step("smoke", tmp_path, **options)[0] == table and len(said) == 1
    with pytest.raises(ValueError, match="unknown method 'gans' of one-step"):
        one_step("smoke", tmp_path, methods=["gans"])


@pytest.mark.slow
def test_every_way_is_trained_and_drawn(tmp_path):
    table, files = one_step("smoke", tmp_path)
    assert len(files) == 3 and table.count("\n| ring |") == 9 and "two halves of the data" in table
