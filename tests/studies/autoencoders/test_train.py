"""Training with a score beside it: with that of a Gaussian encoder it is that encoder's own bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.run import RunError
from dichroic.studies.autoencoders import SCORES, Training, annealed_evidence, log_likelihood, train_autoencoder
from dichroic.studies.reproduce import as_markdown, reproduce
from dichroic.studies.reproduce.autoencoders import METHODS


@pytest.mark.slow
def test_the_small_scale_runs_and_is_told(tmp_path):
    found = reproduce(["score-autoencoders"], "smoke", tmp_path, methods=["vae-lifted"])
    (study,) = found["studies"]
    (cell,) = study["cells"]
    numbers = cell["numbers"]
    assert 20 < numbers["negative_log_likelihood"] < 80  # 64 fair coins: 44
    assert reproduce(["score-autoencoders"], "smoke", tmp_path, methods=["vae-lifted"])["studies"] == [study]
    text = as_markdown(found)
    assert "VAE, sliced, lifted" in text and f"{numbers['negative_log_likelihood']:.1f}" in text
    with pytest.raises(RunError, match="vae-sliced"):
        reproduce(["score-autoencoders"], "smoke", tmp_path, methods=["vae-slices"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_score_trains_a_decoder(method):
    """Images of two kinds, whose negative log-likelihood is log 2 nats: it ends below half of that of fair coins."""
    kinds = np.repeat(np.array([[0.0, 1], [1, 0]]), 8, axis=1).astype(np.float32)
    model, score = method.split("-")
    assert score in SCORES
    training = Training(model, score, 2, width=16, steps=1000, batch=16, rate=3e-3, draws=8)
    decoder = train_autoencoder(np.tile(kinds, (8, 1)), training, key=jax.random.key(0))

    @jax.jit
    def evidence(x, key):
        return annealed_evidence(lambda z: log_likelihood(decoder, x, z), 2, key=key, chains=16, levels=200, leapfrog=5)

    found = [-evidence(jnp.asarray(x), jax.random.key(i)) for i, x in enumerate(kinds)]
    assert np.mean(found) < 8 * np.log(2)
