"""Priors as files: what was saved is what is loaded, and nothing else passes for a prior."""

import json
from pathlib import Path

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dichroic.diffusion import (
    DDIM,
    PRIORS,
    ComponentsDenoiser,
    DenoiserPrior,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    MLPConfig,
    NetworkDenoiser,
    Prior,
    Scaling,
    Schedule,
    UNetConfig,
    denoisers_of,
)
from dichroic.diffusion.denoiser_prior import _CLOSED_FORM
from dichroic.diffusion.prior import FORMAT_VERSION, _digest
from oracles import random_covariance


def gaussian(rng, shape=(4,)):
    d = int(np.prod(shape))
    S = random_covariance(rng, d)
    full = GaussianDenoiser.from_covariance(rng.normal(size=shape), S, rank=2)
    return jax.tree.map(lambda a: np.asarray(a, np.float32), full)


GOLDEN = Path(__file__).parent / "golden" / "prior_1.safetensors"
GOLDEN_VALUE = [1.0201466083526611, 1.6645195484161377]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


class Letters(Prior):
    """Minus or plus one, with no denoiser: a kind of prior as somebody else would add it."""

    kind = "letters"
    shape = (1,)  # pyright: ignore

    def sample(self, n, *, key, step=None, steps=1):
        return jax.random.rademacher(key, (n, 1), float)

    def alphabet(self):
        return np.array([[-1.0], [1.0]])

    def content(self):
        return {"letters": 2}, {"values": self.alphabet()}

    @classmethod
    def from_content(cls, entries, arrays, scaling, provenance):
        if entries.get("letters") != 2:
            raise ValueError("has too many letters")
        return cls()


MAKERS = {
    "gaussian": lambda rng, key: gaussian(rng),
    "low_rank_gaussian": lambda rng, key: LowRankGaussianDenoiser(
        np.zeros((2, 2, 1), np.float32), np.ones(4, np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    ),
    "gaussian_mixture": lambda rng, key: jax.tree.map(
        lambda a: np.asarray(a, np.float32),
        ComponentsDenoiser.from_covariances(np.ones(2), rng.normal(size=(2, 3)), np.stack([np.eye(3)] * 2)),
    ),
    "mlp": lambda rng, key: NetworkDenoiser.create((3,), MLPConfig(width=8, depth=2, conditioning="film"), key=key),
    "unet": lambda rng, key: NetworkDenoiser.create(
        (5, 4, 2), UNetConfig(channels=(4, 4), blocks=(1, 1), heads=(0, 2), embedding=4), key=key
    ),
    "mlp on a gaussian, bfloat16": lambda rng, key: NetworkDenoiser.create(
        (4,), MLPConfig(width=8, depth=1), key=key, base=gaussian(rng), precision="bfloat16"
    ),
}


def test_every_kind_of_denoiser_has_an_example():
    assert set(_CLOSED_FORM) <= set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_roundtrip(name, tmp_path, rng, getkey):
    denoiser = MAKERS[name](rng, getkey())
    prior = DenoiserPrior(denoiser, Schedule(2e-3, 50.0), Scaling(1.5, 0.25), {"laps": 3, "why": "test"})
    path = tmp_path / "source.safetensors"
    prior.save(path)
    found = Prior.load(path)
    assert type(found.denoiser()) is type(denoiser)
    assert found.shape == prior.shape
    assert (found.schedule, found.scaling) == (prior.schedule, prior.scaling)
    assert dict(found.provenance) == {"laps": 3, "why": "test"}
    before, after = jax.tree.leaves(denoiser), jax.tree.leaves(found.denoiser())
    assert jax.tree.structure(denoiser) == jax.tree.structure(found.denoiser())
    for a, b in zip(before, after, strict=True):
        assert np.shape(a) == b.shape
        np.testing.assert_array_equal(a, b)
    x = jax.random.normal(getkey(), denoiser.shape)
    run = eqx.filter_jit(lambda denoiser: denoiser(x, jnp.asarray(0.3)))
    np.testing.assert_array_equal(run(found.denoiser()), run(denoiser))


def test_saving_twice_writes_the_same_bytes(tmp_path, rng):
    prior = DenoiserPrior(gaussian(rng))
    prior.save(tmp_path / "a")
    Prior.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def header_of(path) -> dict:
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        return json.loads(file.metadata()["dichroic"])


@pytest.fixture
def saved(tmp_path, rng):
    path = tmp_path / "prior.safetensors"
    DenoiserPrior(gaussian(rng)).save(path)
    return path


def rewrite(path, arrays=None, **changes):
    from safetensors.numpy import load_file

    arrays = load_file(path) if arrays is None else arrays
    header = {**header_of(path), "sha256": _digest(arrays), **changes}
    save_file(arrays, path, metadata={"dichroic": json.dumps(header)})


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    from safetensors.numpy import load_file

    return tmp_path_factory.mktemp("forged") / "prior", header_of(GOLDEN), load_file(GOLDEN)


def test_another_kind_of_prior_is_one_class_and_one_entry(tmp_path, getkey, monkeypatch):
    path = tmp_path / "letters"
    Letters().save(path)
    with pytest.raises(ValueError, match="is a prior of kind 'letters'; known: denoiser"):
        Prior.load(path)
    monkeypatch.setitem(PRIORS, "letters", Letters)
    found = Prior.load(path)
    assert type(found) is Letters
    assert found.denoiser() is None
    assert found.fingerprint() == Letters().fingerprint()
    assert set(np.ravel(found.sample(32, key=getkey()))) == {-1, 1}
    rewrite(path, letters=3)
    with pytest.raises(ValueError, match="letters has too many letters"):
        Prior.load(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no prior at"):
        Prior.load(tmp_path / "nothing")


def test_not_safetensors(tmp_path):
    path = tmp_path / "text"
    path.write_text("hello, this is no prior at all")
    with pytest.raises(ValueError, match="not a prior file"):
        Prior.load(path)


def test_half_a_file(saved):
    saved.write_bytes(saved.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a prior file"):
        Prior.load(saved)


def test_somebody_elses_safetensors(tmp_path):
    save_file({"weights": np.ones(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a prior written by dichroic"):
        Prior.load(tmp_path / "other")


def test_a_newer_format(saved):
    rewrite(saved, version=FORMAT_VERSION + 1)
    with pytest.raises(ValueError, match=f"format {FORMAT_VERSION + 1}; this version reads up to {FORMAT_VERSION}"):
        Prior.load(saved)


def test_missing_arrays(saved):
    rewrite(saved, arrays={".mean": np.zeros(4, np.float32)})
    with pytest.raises(ValueError, match="lacks or has unexpected arrays"):
        Prior.load(saved)


def test_files_of_the_first_format_are_read(getkey):
    """Written by the version that knew one kind of prior, and wrote no checksum."""
    prior = Prior.load(GOLDEN)
    assert isinstance(prior, DenoiserPrior)
    assert (prior.schedule, prior.scaling) == (Schedule(2e-3, 50.0), Scaling(1.5, 0.25))
    assert prior.provenance == {"stage": "joint", "lap": 3}
    # x = (1, 2) at level 0.3, calculated by that version
    np.testing.assert_allclose(prior.denoiser()(jnp.array([1.0, 2.0]), jnp.array(0.3)), GOLDEN_VALUE, rtol=1e-6)


def test_a_file_that_was_altered_is_damaged(saved):
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: its arrays are not those that were written"):
        Prior.load(saved)


@pytest.mark.parametrize(
    ("array", "value", "match"),
    [
        (".values", np.ones(3, np.float32), r"an array values of shape \(3,\), which does not fit"),
        (".basis", np.ones((5, 2), np.float32), r"an array basis of shape \(5, 2\), which does not fit"),
        (".rest", np.zeros((1,), np.float32), r"an array rest of shape \(1,\), which does not fit"),
        (".values", np.ones(2, np.int32), r"no real numbers: \.values"),
        (".values", np.array([1, np.nan], np.float32), r"no real numbers: \.values"),
    ],
)
def test_arrays_that_do_not_fit(saved, array, value, match):
    from safetensors.numpy import load_file

    rewrite(saved, arrays={**load_file(saved), array: value})
    with pytest.raises(ValueError, match=match):
        Prior.load(saved)


def test_arrays_of_another_network(tmp_path, getkey):
    from safetensors.numpy import load_file

    path = tmp_path / "prior"
    for width in (9, 8):  # the header of the second, the arrays of the first
        arrays = None if width == 9 else load_file(path)
        DenoiserPrior(NetworkDenoiser.create((3,), MLPConfig(width=width, depth=1), key=getkey())).save(path)
    rewrite(path, arrays=arrays)
    with pytest.raises(ValueError, match=r"has an array .network\.\S+ of shape \(9, 67\) instead of \(8, 67\)"):
        Prior.load(path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kind": "oracle"}, "is a prior of kind 'oracle'; known: denoiser"),
        ({"schedule": ["low", "high"]}, "a header that cannot be understood: schedule.0: "),
        ({"schedule": [1.0]}, "schedule.1: Field required"),
        ({"schedule": [50.0, 0.1]}, "expected 0 < sigma_min < sigma_max"),
        ({"schedule": [0.1, float("inf")]}, "schedule.1"),
        ({"scaling": [0.0, 0.0]}, "scaling.1: Input should be greater than 0"),
        ({"denoiser": {"kind": "gauss"}}, "denoiser: Input tag 'gauss'"),
        ({"version": None}, "version: Input should be a valid integer"),
    ],
)
def test_a_header_with_another_entry(saved, changes, match):
    rewrite(saved, **changes)
    with pytest.raises(ValueError, match=match):
        Prior.load(saved)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_what_is_forged_is_refused_in_a_sentence_or_read(data, forged):
    """Any JSON in any place of the header, or in place of it: never an error of this program."""
    path, header, arrays = forged
    if data.draw(st.booleans()):
        text = json.dumps(data.draw(JSON))
    else:
        place = header = json.loads(json.dumps(header))
        for _ in range(data.draw(st.integers(0, 3))):
            inner = [key for key in place if isinstance(place[key], dict) and place[key]]
            if not inner:
                break
            place = place[data.draw(st.sampled_from(inner))]
        key = data.draw(st.sampled_from(sorted(place)))
        if data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(JSON)
        text = json.dumps(header)
    save_file(arrays, path, metadata={"dichroic": text})
    try:
        prior = Prior.load(path)
    except ValueError as error:
        assert type(error) is ValueError and str(error).startswith(str(path))
    else:
        assert prior.shape == (2,)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, "NaN", "1" * 5000, "[]", "3", ""])
def test_headers_that_are_no_header(forged, text):
    path, _, arrays = forged
    save_file(arrays, path, metadata={"dichroic": text})
    with pytest.raises(ValueError, match="not a prior"):
        Prior.load(path)


def test_what_needs_a_denoiser_names_the_source_without_one(rng):
    priors = {"sky": DenoiserPrior(gaussian(rng)), "text": Letters()}
    assert list(denoisers_of({"sky": priors["sky"]}, "this")) == ["sky"]
    with pytest.raises(ValueError, match=r"this needs a denoiser of every source; there is none of 'text' .*'letters'"):
        denoisers_of(priors, "this")


def test_what_cannot_be_saved_says_so(tmp_path):
    from oracles import MatrixDenoiser

    with pytest.raises(TypeError, match="MatrixDenoiser cannot be saved"):
        DenoiserPrior(MatrixDenoiser(jnp.eye(2))).save(tmp_path / "x")


def test_scaling_goes_both_ways(rng):
    scaling, x = Scaling(3.0, 0.5), rng.normal(size=4)
    np.testing.assert_allclose(scaling.to_scaled(scaling.to_user(x)), x)
    np.testing.assert_allclose(scaling.to_user(np.zeros(2)), 3.0)
    np.testing.assert_allclose(scaling.to_scaled(np.array([3.5])), 1.0)


def test_draws_have_the_variance_of_what_was_learned(getkey):
    """Priors are compared with data by their draws: a sampler that narrows them would look like a narrow prior."""
    variances, n = np.array([0.03, 0.3, 1.0, 1.7]), 100_000
    prior = DenoiserPrior(GaussianDenoiser.from_covariance(np.zeros(4), np.diag(variances)), Schedule(5e-3, 2e1))
    found = np.asarray(prior.sample(n, key=getkey())).var(0) / variances
    assert np.all(np.abs(found - 1) < 0.01 + 4.5 * np.sqrt(2 / n))


def test_samples_of_a_loaded_prior_are_those_of_the_saved_one(saved, getkey, rng):
    key = getkey()
    first = Prior.load(saved).sample(3, key=key, step=DDIM(), steps=5)
    second = Prior.load(saved).sample(3, key=key, step=DDIM(), steps=5)
    assert first.shape == (3, 4)
    np.testing.assert_array_equal(first, second)
    assert np.unique(np.asarray(first)[:, 0]).size == 3
