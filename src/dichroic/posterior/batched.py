"""From one observation to a view: the one place with `vmap`, padding, batches, threads and devices."""

from collections.abc import Mapping
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dichroic import memory
from dichroic.algebra import Info
from dichroic.devices import on_every_device, over_observations, whole, within_memory
from dichroic.diffusion import Cost, Prior
from dichroic.operators import cut, select, take
from dichroic.posterior.draws import Draws, far_off, join
from dichroic.posterior.method import Bound, Wanted, some_keys
from dichroic.posterior.sampler import Sampler
from dichroic.problem import Observation, View
from dichroic.white import WhitenedObservation
from dichroic.white.layout import split_alike
from dichroic.white.parallel import side_by_side

__all__ = ["batched"]

FEW = 64  # observations of a kind, below which it does not pay to treat it by itself
_SMALL = 16  # data per observation up to which every one is a system of its own
_DENSE = 2048  # data per observation up to which a shared system is factorised


Costs = dict[tuple[bool, bool, int], Cost]  # of a draw, by whether it is continued, all systems are alike, data


def batched(
    view: View, priors: Mapping[str, Prior], sampler: Sampler, shared: Cost, batch: int, costs: Costs | None = None
) -> Bound:
    """Draws of a view by the sampler of one observation; kind by kind, where that takes one system in place of many.

    **Arguments:** `costs`, those that are known.
    """
    costs = {} if costs is None else costs
    parts = [(np.arange(len(view)), view)]
    if sampler.gains and view.is_gaussian and not view.shared and _SMALL < view.data_size <= _DENSE:
        parts = split_alike(view, FEW)
    if len(parts) == 1:
        return Batched(parts[0][1], priors, sampler, shared, batch, costs)
    return ByKind([(rows, Batched(part, priors, sampler, shared, batch, costs)) for rows, part in parts])


class Batched(Bound):
    """A view drawn in batches of one size, which one program serves; of half the size where memory runs out."""

    def __init__(
        self, view: View, priors: Mapping[str, Prior], sampler: Sampler, shared: Cost, batch: int, costs: Costs
    ):
        self.view, self.priors, self.sampler, self.shared, self.batch = view, priors, sampler, shared, whole(batch)
        self.costs = costs
        self.on_devices = on_every_device(sampler, local=True)
        self.shapes = {s: priors[s].shape for s in view.mixing}
        self.scalings = {s: priors[s].scaling for s in view.mixing}
        self.alike = view.shared and view.is_gaussian and view.data_size <= _DENSE
        self.cost = self._cost(warm=False)

    def on(self, view: View) -> Bound:
        return batched(view.noisy, self.priors, self.sampler, Cost(), self.batch, self.costs)

    def drawn(self, wanted: Wanted) -> Draws:
        def halved(batch: int) -> int:
            return whole(batch // 2) if batch > jax.local_device_count() else 0

        return within_memory(
            lambda batch: self._drawn(wanted, batch), self.batch, halved, "going on with {} observations"
        )

    def _drawn(self, wanted: Wanted, batch: int) -> Draws:
        self.batch = batch  # draws to come begin with what went through
        n, done, warm = len(wanted.rows), 0, wanted.warm
        samples = {s: memory.zeros((n, *shape), np.float32) for s, shape in self.shapes.items()}
        chi, residual, stopped = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.int32)
        effective = np.empty(n, np.float32)
        double = self.view.y.dtype in (np.float64, np.complex128)

        def draw(job: tuple[bool, np.ndarray]) -> tuple[dict[str, Array], Info, Array]:
            is_warm, chosen = job
            # padded, with the kind of start as data: one program serves all batches of a view
            padded = np.concatenate([chosen, np.repeat(chosen[-1:], batch - len(chosen))])
            if is_warm:
                last = {s: np.asarray(wanted.start[s][padded], np.float32) for s in self.shapes}
            else:
                last = {s: np.zeros((batch, *shape), np.float32) for s, shape in self.shapes.items()}
            observations = _gains_as_data(select(self.view.observations, wanted.rows[padded]), double)
            keys, static = some_keys(wanted.keys, padded), (tuple(self.shapes.items()), self.alike)
            found = _draw(self.on_devices, self.scalings, observations, last, np.asarray(is_warm), keys, static)
            return jax.block_until_ready(found)

        jobs = [
            (is_warm, members[begin : begin + batch])
            for is_warm, members in ((False, np.flatnonzero(~warm)), (True, np.flatnonzero(warm)))
            for begin in range(0, len(members), batch)
        ]
        for (_, chosen), (out, info, chi_square) in side_by_side(draw, jobs, alike=True):
            for s in self.shapes:
                samples[s][chosen] = np.asarray(out[s])[: len(chosen)]
            chi[chosen] = np.asarray(chi_square)[: len(chosen)]
            residual[chosen] = np.asarray(info.residual)[: len(chosen)]
            stopped[chosen] = np.asarray(info.stopped)[: len(chosen)]
            effective[chosen] = np.asarray(info.effective)[: len(chosen)]
            done += len(chosen)
            wanted.report(done, n)
        cost = self._cost(warm=True) if warm.any() else self.cost
        return Draws(samples, chi, residual, stopped, far_off(samples, self.priors), cost, self.shared, effective)

    def _cost(self, warm: bool) -> Cost:
        """From the shapes alone."""
        key = warm, self.alike, self.view.data_size
        if key not in self.costs:
            found: list[Cost] = []

            def count(observation: Observation) -> None:
                whitened = WhitenedObservation.of(observation, self.scalings, self.shapes)
                found.append(self.sampler.cost(whitened, warm, self.alike))

            eqx.filter_eval_shape(count, take(self.view.observations, 0))
            self.costs[key] = found[0]
        return self.costs[key]


class ByKind(Bound):
    """A view drawn kind by kind: the observations of most parts share their operators, noise and mask."""

    def __init__(self, parts: list[tuple[np.ndarray, Batched]]):
        self.parts, self.shared = parts, parts[0][1].shared
        self.cost = max((part.cost for _, part in parts), key=lambda cost: cost.total)

    def on(self, view: View) -> Bound:
        return self.parts[0][1].on(view)

    def drawn(self, wanted: Wanted) -> Draws:
        found, before = [], 0
        for members, part in self.parts:
            chosen = np.flatnonzero(np.isin(wanted.rows, members))
            if len(chosen):
                rows = np.searchsorted(members, wanted.rows[chosen])

                def report(done: int, _: int, before: int = before) -> None:
                    wanted.report(before + done, len(wanted.rows))

                found.append((chosen, part.drawn(wanted.part(chosen, rows, report))))
                before += len(chosen)
        return join(found)


def _gains_as_data(observations: Observation, double: bool) -> Observation:
    """Numbers of operators as arrays: a number is part of a program, and views of other numbers would take others."""
    kinds = {float: np.float64, complex: np.complex128} if double else {float: np.float32, complex: np.complex64}
    mixing = jax.tree.map(lambda a: np.asarray(a, kinds[type(a)]) if type(a) in kinds else a, observations.mixing)
    return replace(observations, mixing=mixing)


@eqx.filter_jit
def _draw(sampler, scalings, observations, previous, warm, keys, static):
    shapes, alike = static
    common, own = cut(observations)

    def draw(shared, each):
        (sampler, common, warm), (own, previous, keys) = shared, each
        observations = eqx.combine(common, own)

        def one(i, key) -> tuple[dict[str, Array], Info, Array]:
            whitened = WhitenedObservation.of(take(observations, i), scalings, dict(shapes))
            last = {s: scalings[s].to_scaled(x[i]) for s, x in previous.items()}
            z, info = sampler.draw(whitened, last, warm, alike, key=key)
            return {s: scalings[s].to_user(x) for s, x in z.items()}, info, whitened.chi_square(z)

        return jax.vmap(one)(jnp.arange(len(keys)), keys)

    return over_observations(draw, (sampler, common, warm), (own, previous, keys))
