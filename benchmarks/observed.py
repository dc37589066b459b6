r"""Score-of-mixture training in observation space: generators of sources from mixtures alone, without a likelihood.

    python benchmarks/observed.py [--observations 4096] [--steps 1200] [--only WORDS]

Two random manifolds, contrastive (`dichroic.studies.experiments.contrastive`): view 1 shows the first, view 2 both,
three numbers each through matrices of every observation's own. A generator of each source begins as the Gaussian of
closed-form EM. Its mixtures, through the data's own matrices and with their noise, are to have the law of the observed
ones in both views: :math:`\min \sum_v \mathrm E_{\alpha, t}\, \mathrm{JS}_\alpha(q_t(y_v \mid A), p_t(y_v \mid A))`, by
the amortised denoisers of the mixtures of the two laws given `A`, one of each view. Beside it: skews 0 and 1 alone,
a discriminator at all noise levels, and the closed forms. Prints the energy distance of samples of each source to as
many true ones, and how far they are off the manifold.
"""

import argparse
import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.spatial import cKDTree  # pyright: ignore

from dichroic.algebra import Components
from dichroic.closed import ComponentsConfig, components_em, gaussian_em
from dichroic.diffusion import GaussianDenoiser, MLPConfig, Schedule
from dichroic.metrics import energy_distance
from dichroic.onestep import Generator, Skews, generator_gan, karras, logistic, toward
from dichroic.onestep.stacked import Stacked, waves
from dichroic.studies.experiments import contrastive, manifolds

NOISE, SCHEDULE, BATCH, CRITIC_STEPS, JUDGED = 0.01, Schedule(0.05, 5.0), 256, 4, 2000
NETWORK = MLPConfig(width=128, depth=3, conditioning="film")
WAYS = ("skews", "0 and 1", "discriminator")


class Critic(eqx.Module):
    """Of one view: denoisers of mixtures of the two laws given the matrix, which correct a Gaussian's, and a ratio."""

    network: Stacked
    means: list
    covariances: list

    def __call__(self, y_t, A, sigma, alpha):
        m = sum(A @ mean for mean in self.means)
        V = NOISE**2 * jnp.eye(len(y_t)) + sum(A @ C @ A.T for C in self.covariances)
        B = m + V @ jnp.linalg.solve(V + sigma**2 * jnp.eye(len(y_t)), y_t - m)
        spread = jnp.sqrt(1 + sigma**2)
        numbers = jnp.concatenate([A.reshape(-1), waves(alpha), alpha[None]])
        change, log_ratio = self.network([y_t / spread], numbers, sigma)
        return B + sigma / spread * change, log_ratio


def observe(generators, sources, A, key):
    """A simulated mixture of some sources through a matrix."""
    *keys, noise = jax.random.split(key, len(sources) + 1)
    x = sum(generators[s].sample(k) for s, k in zip(sources, keys, strict=True))
    return A @ x + NOISE * jax.random.normal(noise, (len(A),))


def pair(way, critic, generators, sources, y, A, key):
    """The critic's loss of an observed and a simulated mixture."""
    skew_key, level_key, fake_key, *noise = jax.random.split(key, 5)
    alpha = Skews(1.0 if way == "0 and 1" else 0.0, zero=0.5 if way == "0 and 1" else 0.25)(skew_key)
    sigma = karras(SCHEDULE, jax.random.uniform(level_key))
    fake = jax.lax.stop_gradient(observe(generators, sources, A, fake_key))
    y_p, y_q = (a + sigma * jax.random.normal(k, a.shape) for a, k in zip((y, fake), noise, strict=True))
    (f_p, l_p), (f_q, l_q) = (critic(a, A, sigma, alpha * (way != "discriminator")) for a in (y_p, y_q))
    if way == "discriminator":
        return logistic(l_p, l_q, 0.5)
    loss = alpha * jnp.mean((f_p - y) ** 2) + (1 - alpha) * jnp.mean((f_q - fake) ** 2)
    return (1 + sigma**-2) * loss


def moved(way, critic, generators, sources, A, key):
    """The generators' loss of a simulated mixture."""
    skew_key, level_key, fake_key, noise = jax.random.split(key, 4)
    alpha = jnp.asarray(1.0) if way == "0 and 1" else Skews(0.1)(skew_key)
    sigma = karras(SCHEDULE, jax.random.uniform(level_key, minval=0.02, maxval=0.98))
    fake = observe(generators, sources, A, fake_key)
    y_t = fake + sigma * jax.random.normal(noise, fake.shape)
    if way == "discriminator":
        return generator_gan(critic(y_t, A, sigma, jnp.zeros(()))[1], 0.5)
    f_0, f_1, f = (critic(y_t, A, sigma, jnp.asarray(a))[0] for a in (0.0, 1.0, alpha))
    return jnp.mean(toward((f_0 - f) / alpha, fake, f_1) * fake)


@eqx.filter_jit
def turn(way, state, views, key, chunk):
    """Some steps of all generators, each after a few of the critics."""
    generators_in = state[0]
    learned, fixed = eqx.partition(generators_in, {s: g.trainable() for s, g in generators_in.items()})
    critics, held = eqx.partition(state[1], {v: _network(c) for v, c in state[1].items()})
    moments = state[2]

    def batch(key, v):
        rows, *_ = jax.random.split(key, 1)
        i = jax.random.randint(rows, (BATCH,), 0, len(views[v][1]))
        return views[v][1][i], views[v][2][i]

    def step(carried, key):
        learned, critics, (of_generators, of_critics) = carried
        now = eqx.combine(learned, fixed)

        def taught(carry, key):
            critics, of_critics = carry

            def total(critics):
                whole, sums = eqx.combine(critics, held), []
                for v, k in zip(views, jax.random.split(key, len(views)), strict=True):
                    y, A = batch(k, v)
                    one = partial(pair, way, whole[v], now, views[v][0])
                    sums.append(jax.vmap(one)(y, A, jax.random.split(jax.random.fold_in(k, 1), BATCH)).mean())
                return sum(sums)

            update, of_critics = CRITIC.update(jax.grad(total)(critics), of_critics)
            return (optax.apply_updates(critics, update), of_critics), None

        critic_key, own_key = jax.random.split(key)
        critics, of_critics = jax.lax.scan(taught, (critics, of_critics), jax.random.split(critic_key, CRITIC_STEPS))[0]
        whole = eqx.combine(critics, held)

        def total(learned):
            now, sums = eqx.combine(learned, fixed), []
            for v, k in zip(views, jax.random.split(own_key, len(views)), strict=True):
                _, A = batch(k, v)
                one = partial(moved, way, whole[v], now, views[v][0])
                sums.append(jax.vmap(one)(A, jax.random.split(jax.random.fold_in(k, 1), BATCH)).mean())
            return sum(sums)

        update, of_generators = GENERATOR.update(jax.grad(total)(learned), of_generators)
        return (optax.apply_updates(learned, update), critics, (of_generators, of_critics)), None

    learned, critics, moments = jax.lax.scan(step, (learned, critics, moments), jax.random.split(key, chunk))[0]
    return eqx.combine(learned, fixed), eqx.combine(critics, held), moments


def _network(critic):
    nothing = jax.tree.map(lambda _: False, critic)
    return eqx.tree_at(lambda c: c.network, nothing, jax.tree.map(eqx.is_inexact_array, critic.network))


GENERATOR, CRITIC = (
    optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))) for rate in (2e-4, 1e-3)
)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=4096, help="per view")
    parser.add_argument("--steps", type=int, default=1200, help="of the generators")
    parser.add_argument("--components", type=int, default=8, help="of the closed form beside, at most; 0 for none")
    parser.add_argument("--only", nargs="*", default=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    problem, _ = contrastive(a.observations, sources=2, seed=a.seed, held_out=0)
    names = list(problem.sources)
    known = manifolds(2, a.seed)
    rng = np.random.default_rng(a.seed + 1)
    true = {s: known[s].sample(rng, JUDGED) for s in names}
    curves = {s: cKDTree(known[s](np.linspace(0, 1, 20001))) for s in names}

    def tell(what, seconds, x):
        scores = [f"{energy_distance(x[s], true[s]):.3f} | {curves[s].query(x[s])[0].mean():.3f}" for s in names]
        print(f"| {what} | {seconds:.0f} | {' | '.join(scores)} |", flush=True)

    print("| | CPU seconds | source 1: energy distance | off | source 2: energy distance | off |")
    print("|---|---|---|---|---|---|")
    tell("as many true samples", 0, {s: known[s].sample(rng, JUDGED) for s in names})
    begin = time.process_time()
    populations = gaussian_em(problem).populations
    of_gaussian = {s: Components.of(p) for s, p in populations.items()}
    tell("Gaussians by EM", time.process_time() - begin, {s: c.sample(rng, JUDGED) for s, c in of_gaussian.items()})
    if a.components:
        config = ComponentsConfig(components=a.components, subset=2048)
        components = components_em(problem, of_gaussian, config, seed=a.seed).components
        tell("components by EM", time.process_time() - begin, {s: c.sample(rng, JUDGED) for s, c in components.items()})
    views = {}
    for v, view in problem.views.items():
        matrix = next(iter(view.mixing.values())).value.matrix  # pyright: ignore
        views[v] = (tuple(view.mixing), *(jax.device_put(np.asarray(b, np.float32)) for b in (view.y, matrix)))
    for way in a.only:
        begin = time.process_time()
        key = jax.random.key(a.seed)
        generators, critics = {}, {}
        for k, s in enumerate(names):
            base = jax.tree.map(lambda b: np.asarray(b, np.float32), GaussianDenoiser.of(populations[s], (5,)))
            generators[s] = Generator.create(base, NETWORK, key=jax.random.fold_in(key, k))
        moments = {s: c.moments() for s, c in of_gaussian.items()}
        for k, (v, (shown, _, A)) in enumerate(views.items()):
            network = Stacked.create(NETWORK, (3,), numbers=A[0].size + 9, key=jax.random.fold_in(key, 10 + k))
            critics[v] = Critic(network, *([jnp.asarray(moments[s][i], jnp.float32) for s in shown] for i in (0, 1)))
        learned, _ = eqx.partition(generators, {s: g.trainable() for s, g in generators.items()})
        weights, _ = eqx.partition(critics, {v: _network(c) for v, c in critics.items()})
        state = generators, critics, (GENERATOR.init(learned), CRITIC.init(weights))
        for k in range(4):
            state = turn(way, state, views, jax.random.fold_in(key, 100 + k), a.steps // 4)
            draw = jax.jit(jax.vmap(lambda key, g=state[0]: {s: g[s].sample(key) for s in names}))
            x = jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(7), JUDGED)))
            tell(f"{way}, {(k + 1) * a.steps // 4} steps", time.process_time() - begin, x)


if __name__ == "__main__":
    main()
