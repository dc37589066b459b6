import numpy as np
import pytest

from dichroic.baselines import MeanSubtraction
from dichroic.metrics import psnr
from dichroic.studies.experiments import grassy_digits, oracle_wiener
from dichroic.studies.experiments.grass import crop, grass_bands, grass_squares


def test_observations_are_the_mixture_plus_noise():
    for problem in grassy_digits(n_grass=500, repeats=2):
        for view in problem.views.values():
            clean = sum(
                amplitude * view.truth[s] for s, amplitude in {"grass": 1, "digit": 0.5}.items() if s in view.truth
            )
            residual = view.y - clean
            assert abs(residual.std() / 0.01 - 1) < 5 / np.sqrt(2 * residual.size)
            for x in view.truth.values():
                assert x.shape[1:] == (8, 8, 1) and x.min() >= 0 and x.max() <= 1


def test_no_digit_and_no_grass_is_shared():
    problem, held_out = grassy_digits(n_grass=300, repeats=3)
    digits = [{x.tobytes() for x in p.views["mix"].truth["digit"]} for p in (problem, held_out)]
    assert len(digits[0]) + len(digits[1]) <= 360 and len(digits[1]) > 60
    assert not digits[0] & digits[1]
    # a photograph whose columns are numbered shows where each band's crops come from
    image = np.broadcast_to(np.arange(250, dtype=np.uint8), (60, 250))
    rng = np.random.default_rng(0)
    for rounds in (1, 2):
        bands = grass_bands(8, image=image, rounds=rounds)
        columns = [set(np.unique(crop(rng, band, 2000, 8))) for band in bands]
        assert all(not a & b for i, a in enumerate(columns) for b in columns[:i])
        assert set().union(*columns) == set(range(250))


def test_squares_are_dealt_whole():
    # every square of 60 x 60 pixels has a grey of its own
    image = np.kron(np.arange(16, dtype=np.uint8).reshape(4, 4), np.ones((60, 60), np.uint8))
    parts = grass_squares(8, (1.0, 0.5), image=image, rows=4)
    greys = [{int(x) for copy in part for x in np.unique(copy)} for part in parts]
    assert [len(part) for part in parts] == [20, 6, 6]  # at two scales
    assert sorted(x for part in greys for x in part) == list(range(16))
    assert greys != [{int(c.flat[0]) for c in part} for part in grass_squares(8, image=image, rows=4, seed=1)]
    with pytest.raises(ValueError, match="60 x 60 pixels are too small for crops of 53"):
        grass_squares(53, image=image, rows=4)


def test_crops_cover_all_places_and_symmetries():
    image = np.arange(12 * 12, dtype=np.uint8).reshape(12, 12)
    corners = crop(np.random.default_rng(0), [image], 5000, 8)[:, 0, 0]
    values, counts = np.unique(corners, return_counts=True)
    assert len(values) == 25
    assert ((counts - 200) ** 2 / 200).sum() < 24 + 5 * np.sqrt(48)  # chi-square with 24 degrees of freedom
    turned = crop(np.random.default_rng(0), [image[:8, :8]], 4000, 8, symmetries=True)
    values, counts = np.unique(turned.reshape(4000, -1), axis=0, return_counts=True)
    assert len(values) == 8
    assert ((counts - 500) ** 2 / 500).sum() < 7 + 5 * np.sqrt(14)


@pytest.mark.parametrize("seed", [0, 1])
def test_reference_numbers(seed):
    # the layout of the published reference numbers, one band each; 72 held-out digits, each over ten crops: standard
    # error about 0.2 dB between splits
    problem, held_out = grassy_digits(n_grass=4096, repeats=10, seed=seed, rounds=1)
    assert len(problem.views["mix"]) == 2880 and len(held_out.views["mix"]) == 720
    subtracted = MeanSubtraction.fit(problem).separate(held_out).mean("mix", "digit")
    assert psnr(subtracted, held_out.views["mix"].truth["digit"]) == pytest.approx(10.5, abs=0.4)
    assert oracle_wiener(problem, held_out).psnr == pytest.approx(18.9, abs=0.4)


def test_classes():
    problem, _ = grassy_digits(classes=(3,), repeats=1)
    assert len(problem.views["mix"]) == 146  # of 183
    with pytest.raises(ValueError, match="no digit in"):
        grassy_digits(classes=(11,))
