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


def test_pictures_are_read_as_they_are_published(tmp_path, rng):
    rows = rng.integers(0, 256, (3, 3073)).astype(np.uint8)
    rows[:, 0] = [4, 0, 9]
    rows[:2].tofile(tmp_path / "data_batch_1.bin")
    rows[2:].tofile(tmp_path / "data_batch_2.bin")
    data = rng.integers(0, 256, (2, 12288)).astype(np.uint8)
    np.savez(tmp_path / "train_data_batch_1.npz", data=data, labels=np.array([1, 1000]))
    found = STUDIES["one-step-pictures"].prepare("paper", tmp_path, 0)
    _, x, labels = found["cifar10"]
    assert labels.tolist() == [4, 0, 9]
    np.testing.assert_allclose(x[1, 2, 5, 1] * 255, rows[1, 1 + 1024 + 2 * 32 + 5], atol=1e-4)
    _, x, labels = found["imagenet64"]
    assert x.shape == (2, 64, 64, 3) and labels.tolist() == [0, 999]
    np.testing.assert_allclose(x[0, 63, 1, 2] * 255, data[0, 2 * 4096 + 63 * 64 + 1], atol=1e-4)


def test_pictures_that_are_not_there_are_asked_for(tmp_path):
    found = reproduce(["one-step-pictures"], "paper", tmp_path / "out", data=tmp_path)
    assert "data_batch_1.bin (cifar10) or train_data_batch_1.npz (imagenet64)" in as_markdown(found)


@pytest.mark.slow
def test_generators_of_pictures(tmp_path):
    table = as_markdown(reproduce(["one-step-pictures"], "smoke", tmp_path))
    assert table.count("\n| digits |") == 2 and "failed" not in table
