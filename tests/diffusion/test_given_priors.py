"""Priors that need no training: what they say of themselves agrees, by brute force, with the law that they name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dichroic.diffusion import DESCRIBED, Empirical, Prior, describe_prior, pulse_matrix, root_raised_cosine
from dichroic.diffusion.prior import _digest

RNG = np.random.default_rng(4)
ATOMS = RNG.normal(size=(5, 3)).astype(np.float32)
WEIGHTS = [1, 2, 0, 3, 4]

# tables as problem files have them, their arrays read: (table, shape in real numbers, pairs)
TABLES = {
    "empirical": ({"empirical": ATOMS, "weights": WEIGHTS}, (3,), False),
    "empirical, complex": ({"empirical": ATOMS + 1j}, (3, 2), True),
    "alphabet": ({"alphabet": [0, 1, 3], "weights": [2, 1, 1]}, (2, 2), False),
    "alphabet, complex": ({"alphabet": "16qam"}, (3, 2), True),
    "pulse": ({"alphabet": "qpsk", "pulse": "rrc"}, (64, 2), True),
    "pulse, a matrix": ({"alphabet": [-1, 1], "pulse": 2 * np.eye(6)[:, [0, 3]]}, (6,), False),
    "ofdm": ({"alphabet": "qpsk", "ofdm": 8, "carriers": [-1, 2]}, (16, 2), True),
    "ofdm, prefix": ({"alphabet": "bpsk", "ofdm": 64, "carriers": "wifi", "prefix": 16, "offset": True}, (90, 2), True),
    "gaussian": ({"gaussian": {"mean": [1.0, 2.0], "covariance": [[2.0, 0.5], [0.5, 1.0]]}}, (2,), False),
    "gaussian, white": ({"gaussian": {"std": 2.0}}, (2, 2), False),
    "components": ({"components": {"means": [[0.0], [2.0]], "std": 0.5, "weights": [1, 3]}}, (1,), False),
}


def made(name: str) -> Prior:
    return describe_prior(*TABLES[name])


def test_every_kind_of_table_has_an_example():
    assert {name.split(",")[0] for name in TABLES} == set(DESCRIBED)


@pytest.mark.parametrize("name", TABLES)
def test_what_was_saved_is_what_is_loaded(name, tmp_path, getkey):
    prior, path = made(name), tmp_path / "prior"
    prior.save(path)
    found = Prior.load(path)
    assert type(found) is type(prior) and found.shape == TABLES[name][1]
    assert found.fingerprint() == prior.fingerprint()
    assert (found.scaling, found.schedule) == (prior.scaling, prior.schedule)
    key = getkey()
    np.testing.assert_array_equal(found.sample(4, key=key, steps=4), prior.sample(4, key=key, steps=4))
    assert describe_prior(*TABLES[name]).fingerprint() == prior.fingerprint()


@pytest.mark.parametrize("name", [name for name in TABLES if made(name).kind != "denoiser"])
def test_forged_files_are_refused(name, tmp_path):
    path = tmp_path / "prior"
    made(name).save(path)
    arrays = load_file(path)
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        header = json.loads(file.metadata()["dichroic"])
    for forged in (
        {},
        {k: a[:0] for k, a in arrays.items()},
        {k: a.ravel()[:1] for k, a in arrays.items()},
        {k: np.full_like(a, -np.inf) for k, a in arrays.items()},
    ):
        save_file(forged, path, metadata={"dichroic": json.dumps({**header, "sha256": _digest(forged)})})
        with pytest.raises(ValueError, match=str(path)):
            Prior.load(path)
    for entries in ({"schedule": [1]}, {"schedule": "low"}, {"schedule": [2.0, 1.0]}):
        save_file(arrays, path, metadata={"dichroic": json.dumps({**header, **entries})})
        with pytest.raises(ValueError, match=r"[sS]chedule"):
            Prior.load(path)


def brute(atoms, weights, x, s):
    """The posterior mean of one of some atoms, and log p, both in double precision."""
    log = np.log(weights) - ((x - atoms) ** 2).reshape(len(atoms), -1).sum(1) / (2 * s**2)
    r = np.exp(log - log.max())
    density = log.max() + np.log(r.sum()) - x.size * np.log(s)
    return np.tensordot(r / r.sum(), atoms, 1), density


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("s", [0.1, 0.7, 5.0])
def test_the_denoiser_of_atoms_is_the_posterior_mean(s):
    prior = Empirical.of(ATOMS, WEIGHTS)
    x, scaling = RNG.normal(size=3), prior.scaling
    found = scaling.to_user(prior.denoiser()(jnp.asarray(x), jnp.asarray(s)))
    with np.errstate(divide="ignore"):
        mean, _ = brute(np.asarray(prior.atoms, float), prior.weights, scaling.to_user(x), s * scaling.scale)
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-6)


def test_many_atoms_are_one_product_with_the_same_answer():
    """The form that serves large sets agrees with the one that serves small ones."""
    atoms = RNG.normal(size=(3000, 30)).astype(np.float32)
    denoiser = Empirical.of(atoms).denoiser()
    x, level = jnp.asarray(RNG.normal(size=30), jnp.float32), jnp.asarray(2.0)
    mean, _ = brute(np.asarray(denoiser.atoms, float), np.ones(3000) / 3000, np.asarray(x, float), 2.0)
    np.testing.assert_allclose(denoiser(x, level), mean, atol=2e-5)
    np.testing.assert_array_equal(denoiser.nearest(jnp.asarray(denoiser.atoms[7] + 0.05)), denoiser.atoms[7])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["alphabet", "alphabet, complex", "pulse, a matrix", "ofdm"])
def test_the_denoiser_of_symbols_is_the_score_of_their_law(name):
    """Equations 11 and 12: against the sum over everything that a sample can be, and finite differences of log p."""
    prior = made(name)
    denoiser, step = prior.denoiser(), 1e-4
    p = int(np.prod(prior.symbols)) // prior.letters.shape[1]
    chosen = np.stack(np.meshgrid(*[np.arange(len(prior.letters))] * p, indexing="ij"), -1).reshape(-1, p)
    symbols = np.asarray(prior.letters, float)[chosen].reshape(-1, *prior.symbols)
    atoms = np.asarray(prior.scaling.to_scaled(np.asarray(prior.modulated(jnp.asarray(symbols), jax.random.key(0)))))
    weights = np.asarray(prior.weights, float)[chosen].prod(1)
    x, run = RNG.normal(size=prior.shape), jax.jit(lambda x, s: denoiser(x, s))
    for s in (0.3, 1.0):
        mean, _ = brute(atoms, weights, x, s)
        np.testing.assert_allclose(run(jnp.asarray(x), jnp.asarray(s)), mean, rtol=1e-5, atol=1e-6)
        score = (np.asarray(run(jnp.asarray(x), jnp.asarray(s))) - x) / s**2
        e = np.zeros(prior.shape)
        e.flat[1] = step
        slope = (brute(atoms, weights, x + e, s)[1] - brute(atoms, weights, x - e, s)[1]) / (2 * step)
        assert score.flat[1] == pytest.approx(slope, abs=2e-6 * max(1, abs(slope)))


@pytest.mark.usefixtures("float64")
def test_closed_forms_of_bpsk_and_qpsk():
    x, s, c = jnp.asarray([[0.3, -0.8]]), jnp.asarray(0.6), 2**-0.5
    real = describe_prior({"alphabet": "bpsk"}, (1, 2)).denoiser()
    np.testing.assert_allclose(real(x, s), np.tanh(np.asarray(x) / 0.36), rtol=1e-6)
    pair = describe_prior({"alphabet": "qpsk"}, (1, 2), True).denoiser()
    np.testing.assert_allclose(pair(x, s), c * np.tanh(c * np.asarray(x) / 0.36), rtol=1e-6)
    np.testing.assert_allclose(pair.nearest(x), [[c, -c]], rtol=1e-6)


@pytest.mark.parametrize("name", ["alphabet", "alphabet, complex", "pulse", "ofdm"])
def test_a_draw_of_symbols_is_its_own_nearest(name, getkey):
    prior = made(name)
    x = prior.scaling.to_scaled(prior.sample(3, key=getkey()))
    np.testing.assert_allclose(jax.vmap(prior.denoiser().nearest)(x), x, atol=1e-5)


def test_waveforms_have_the_published_numbers(getkey):
    """Check 12: powers 0.9994 and 0.875, products of pulses up to 0.0082, r(64) = 0.175, no bit lost without noise."""
    rrc = describe_prior({"alphabet": "qpsk", "pulse": "rrc"}, (2560, 2), True)
    H = np.asarray(rrc.matrix, float)
    gram = H.T @ H / 16
    assert gram[80, 80] == pytest.approx(1, abs=1e-6)
    assert np.abs(gram - np.diag(np.diag(gram))).max() == pytest.approx(0.0082, abs=1e-4)
    assert np.linalg.cond(H) == pytest.approx(1.041, abs=1e-3)
    wide = pulse_matrix(root_raised_cosine(8, 16, 0.5), 16, 2560)
    assert np.abs(wide.T @ wide / 16 - np.diag((wide**2).sum(0) / 16)).max() == pytest.approx(0.0058, abs=1e-4)
    assert (H**2).sum() / 2560 == pytest.approx(0.9994, abs=1e-4)  # the power that symbols of unit power have
    x = rrc.sample(64, key=getkey())
    found, sent = (np.asarray(jax.vmap(rrc.modulator().matched)(v)) for v in (x, jax.vmap(rrc.denoiser().nearest)(x)))
    assert (np.sign(found) == np.sign(sent)).all()
    table = {"alphabet": "bpsk", "ofdm": 64, "carriers": "wifi", "prefix": 16, "offset": True, "phase": True}
    n = np.asarray(describe_prior(table, (2560, 2), True).sample(400, key=getkey())).astype(float)
    n = n[..., 0] + 1j * n[..., 1]
    for lag, expected in ((0, 0.875), (64, 0.175)):
        products = (n[:, lag:] * n[:, : 2560 - lag].conj()).mean(1)
        assert abs(products.mean() - expected) < 1e-3 + 4 * products.std() / 400**0.5


def test_atoms_are_drawn_by_their_weights(getkey):
    prior = Empirical.of(ATOMS, WEIGHTS)
    x = np.asarray(prior.sample(4000, key=getkey()))
    found = np.array([(x == atom).all(1).mean() for atom in ATOMS])
    assert np.abs(found - prior.weights).max() < 4 * (0.25 / 4000) ** 0.5 and found[2] == 0
    np.testing.assert_array_equal(prior.alphabet(), ATOMS)


@pytest.mark.parametrize(
    ("table", "shape", "match"),
    [
        ({"oracle": 1}, (3,), "expected a file, or a table with one of .*empirical"),
        ({"empirical": ATOMS}, (4,), r"is of shape \(3,\), the source of shape \(4,\)"),
        ({"empirical": ATOMS, "size": 2}, (3,), "unknown key 'size'"),
        ({"empirical": ATOMS + 1j}, (3,), "complex numbers, and the source is real"),
        ({"empirical": ATOMS, "weights": [1, -1, 1, 1, 1]}, (3,), "expected 5 weights, none of them negative"),
        ({"alphabet": "oqpsk"}, (3,), "unknown alphabet 'oqpsk'; known: bpsk, qpsk"),
        ({"alphabet": "qpsk"}, (3,), "complex numbers is for a complex source"),
        ({"alphabet": [1]}, (3,), "a list of at least two numbers"),
        ({"alphabet": [0, 1], "pulse": np.ones((4, 2))}, (4,), "columns that are not orthogonal"),
        ({"alphabet": [0, 1], "pulse": "rrc", "rate": 2}, (4,), "unknown key 'rate'"),
        ({"alphabet": "bpsk", "ofdm": 64}, (64,), "OFDM is of a complex source"),
        ({"gaussian": 1}, (3,), "gaussian: expected a table with mean"),
        ({"gaussian": {"std": -1}}, (3,), "std: expected positive"),
        ({"gaussian": {"covariance": [[1.0, 2.0], [2.0, 1.0]]}}, (2,), "negative variance"),
        ({"gaussian": {"covariance": np.array([[1, 0.5], [-0.5, 1]]) * 1e-34}}, (2,), "not symmetric"),
        ({"gaussian": {"covariance": np.array([[1, 2], [2, 1]]) * 1e-34}}, (2,), "negative variance"),
        ({"gaussian": {"covariance": np.zeros((2, 2))}}, (2,), "covariance of zeros"),
        ({"components": {"means": [[0.0, 1.0]]}}, (3,), "components: means: expected shape"),
        ({"components": {"means": np.zeros((1, 2)), "std": np.nan}}, (2,), "expected positive numbers, one or 1"),
        ({"components": {"means": np.zeros((1, 2)), "std": []}}, (2,), "expected positive numbers, one or 1"),
        ({"components": {"means": np.zeros((2, 2)), "weights": [np.inf, 1]}}, (2,), "expected 2 weights"),
        ({"gaussian": {"mean": np.nan}}, (2,), "not finite in single precision"),
        ({"gaussian": {"mean": 1e300}}, (2,), "not finite in single precision"),
        ({"gaussian": {"std": np.inf}}, (2,), "std: expected positive"),
        ({"empirical": np.zeros((0, 2))}, (2,), "expected at least one"),
        ({"components": {"std": 1}}, (17,), "up to 16 numbers, not 17"),
    ],
)
def test_what_is_no_description_is_refused_in_words(table, shape, match):
    with pytest.raises(ValueError, match=match):
        describe_prior(table, shape)


@pytest.mark.parametrize("unit", [1e-17, 1.0, 1e15])
def test_rounding_of_a_covariance_is_forgiven_in_any_unit(unit):
    x = np.random.default_rng(0).normal(size=(3, 4)) * unit
    S = np.cov(x.T)  # of rank 2
    S -= 1e-7 * S.max() * np.eye(4)  # so that two eigenvalues are rounding, below zero
    prior = describe_prior({"gaussian": {"covariance": S}}, (4,))
    found = prior.denoiser().population().covariance() * prior.scaling.scale**2
    np.testing.assert_allclose(found, S, atol=1e-5 * S.max())
