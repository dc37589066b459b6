import numpy as np
import pytest
from scipy import stats

from dichroic.studies.experiments import galaxies, hubble_galaxies, model_galaxies
from dichroic.studies.experiments.galaxies import EXPOSURES, FIELD, LEVEL, arcsinh, exposures, find_galaxies, sersic
from dichroic.studies.experiments.photographs import photograph


@pytest.fixture(scope="module")
def model():
    return model_galaxies(600, 500, 300, seed=1)


def test_scaling_is_the_published_one():
    np.testing.assert_allclose(arcsinh(np.array([0.0, 0.1, -0.1])), [0, 0.2 * np.log(1 + 2**0.5), -0.17627472])
    assert arcsinh(np.array([1e6])) == 2  # clipped
    assert np.median(photograph(FIELD)) == LEVEL


def test_residuals_are_noise_of_the_stated_size(model):
    for problem in model:
        for view in problem.views.values():
            white = (view.y - sum(view.truth.values())) / view.noise.value.std
            white = white if view.observed is None else white[view.observed]
            assert abs(white.std() - 1) < 5 / np.sqrt(2 * white.size)
            assert abs(white.mean()) < 5 / np.sqrt(white.size)


def test_noise_falls_with_the_exposures_that_reach_a_pixel(model):
    view = model[0].views["galaxies"]
    std = view.noise.value.std
    possible = 0.02 * np.sqrt(EXPOSURES / np.arange(1, EXPOSURES + 1))
    assert np.isclose(std[..., None], [*possible, 1.0], rtol=1e-5).any(-1).all()  # 1.0 where nothing was seen
    reached = exposures(np.random.default_rng(0), 4000, 16)
    # away from gaps a pixel of an exposure is lost with probability 0.05; a gap of 3 columns begins at any of 18 places
    p = 0.95 * (1 - 0.2 * 3 / 18)
    error = np.sqrt(p * (1 - p) / (EXPOSURES * 4000))  # of a pixel; all pixels of a column share their gaps
    assert abs(reached.mean() / EXPOSURES - p) < 5 * error / np.sqrt(16)
    assert abs(reached.mean((0, 1)) / EXPOSURES - p).max() < 5 * error


def test_bands_share_no_pixel(monkeypatch):
    """A picture whose columns are numbered shows where sightlines and galaxies come from."""
    picture = np.broadcast_to(np.arange(250, dtype=np.uint8), (120, 250)).copy()
    monkeypatch.setattr(galaxies, "photograph", lambda name: picture)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(galaxies, "find_galaxies", lambda band, size: galaxies.crop(rng, [band], 50, size))
    seen = {}
    problem, held_out = hubble_galaxies(400, 400, 400, size=16, noise=1e-5)
    for part, p in (("train", problem), ("test", held_out)):
        for name, view in p.views.items():
            y = view.y if view.observed is None else view.y[view.observed]
            seen[part, name] = set(np.rint(LEVEL + 25.5 * np.sinh(5 * y)).astype(int).ravel())
    bands = [seen["train", "sky"], seen["train", "galaxies"], seen["test", "sky"] | seen["test", "galaxies"]]
    assert not bands[0] & bands[1] and not bands[0] & bands[2] and not bands[1] & bands[2]
    assert len(set().union(*bands)) > 240  # the edges of a band are rarely in a cut-out


def test_views_are_drawn_independently(model):
    n = 300
    centre = [v.truth["sky"][:n, 16, 16, 0] for p in model for v in p.views.values()]
    noise = [(v.y - sum(v.truth.values()))[:n, 16, 16, 0] for p in model for v in p.views.values()]
    for columns in (centre, noise):
        for i in range(4):
            for j in range(i):
                assert stats.spearmanr(columns[i], columns[j]).pvalue > 1e-5
    again = model_galaxies(600, 500, 300, seed=1)
    assert again[0].fingerprint() == model[0].fingerprint() != model[1].fingerprint()


def test_found_galaxies_are_bright_centred_and_the_pictures_own():
    picture = photograph(FIELD)
    found = find_galaxies(picture, 32)
    assert 200 < len(found) < 260
    profile = (found.mean(0) - LEVEL) / 255
    centre = profile[14:19, 14:19].mean()
    assert centre > 0.3  # their flux, smoothed, is at least that
    assert np.unravel_index(profile.argmax(), profile.shape) in [(r, c) for r in (15, 16, 17) for c in (15, 16, 17)]
    edge = np.concatenate([profile[0], profile[-1], profile[:, 0], profile[:, -1]]).mean()
    assert edge < 0.1 * centre
    blank = np.full((200, 200), 13, np.uint8)
    assert len(find_galaxies(blank, 32)) == 0
    blank[60:65, 90:95] = 255
    (one,) = find_galaxies(blank, 32)
    np.testing.assert_array_equal(one[14:19, 14:19], 255)
    assert (one > 13).sum() == 25


def test_galaxies_of_the_picture_come_without_truth():
    problem, held_out = hubble_galaxies(40, 30, 20)
    assert {v: (list(view.mixing), len(view), view.truth) for v, view in problem.views.items()} == {
        "sky": (["sky"], 40, {}),
        "galaxies": (["sky", "galaxy"], 30, {}),
    }
    assert [len(view) for view in held_out.views.values()] == [20, 20]
    sky, galaxy = (view.y.mean(0) for view in problem.views.values())
    assert galaxy[16, 16, 0] > sky[16, 16, 0] + 0.2  # something bright is at the centre of one view only


def test_model_galaxies_have_their_peaks_and_sizes():
    flux = sersic(np.random.default_rng(0), 4000, 33)
    peak = flux.max((1, 2))
    assert stats.kstest(peak, stats.uniform(0.3, 0.7).cdf).pvalue > 1e-4
    assert flux.min() >= 0
    x = np.arange(33) - 16
    centroid = (flux * x).sum((1, 2)) / flux.sum((1, 2))
    assert np.abs(centroid).max() < 0.6 and abs(centroid.mean()) < 5 * centroid.std() / np.sqrt(4000)
    # no direction is preferred: xx - yy and xy average to nothing
    total = flux.sum((1, 2))
    for moment in (x**2 - x[:, None] ** 2, x * x[:, None]):
        mean = (flux * moment).sum((1, 2)) / total
        assert abs(mean.mean()) < 5 * mean.std() / np.sqrt(4000)


def test_missing_picture_is_one_sentence(monkeypatch):
    import skimage

    monkeypatch.setattr(skimage, "__file__", "/nowhere/skimage/__init__.py")
    with pytest.raises(FileNotFoundError, match=r"hubble_deep_field.jpg is not part of the installed scikit-image"):
        model_galaxies(10, 10, 10)
