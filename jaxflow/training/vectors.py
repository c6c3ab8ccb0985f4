"""The training step on groups of feature vectors: many optimizer steps in one batch of images."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxflow.detectors import FlowDetector, Latent
from jaxflow.detectors.pyramid import base_name, flow_name
from jaxflow.errors import InputError
from jaxflow.flows import HierarchicalMixture
from jaxflow.parallel import BATCH, PMAP, REPLICATED, Devices, device_share, mean_over_devices
from jaxflow.training.step import (
    Encode,
    Rate,
    TrainState,
    apply_updates,
    as_maps,
    constant_rate,
    step_key,
)


def make_vector_step(
    detector: FlowDetector,
    optimizer: optax.GradientTransformation,
    *,
    vectors: int,
    rate: Rate = constant_rate,
    encode: Encode = as_maps,
    devices: Devices = PMAP,
) -> Callable:
    """Return a step over all devices that takes an optimizer step on every group of vectors.

    The vectors of each map of a batch are shuffled, in an order drawn from the state's key and
    step and the device's number; then each group of them gives its map's flow one optimizer step,
    one group after another in a `lax.scan`. What is left over of the last group is not used. With
    several devices each has its share of every group, of its own images, and the gradients are
    averaged.

    Args:
      detector: its flows are `pointwise`, and its normalization has no parameters; the mean of its
        loss over a group, and a vector's share of its prior, are minimized.
      optimizer: as `separately` makes it.
      vectors: of a group, over all devices.
      rate: factor of the learning rate at a batch of images.
      encode: gives the feature maps of a batch.
      devices: run the step.

    Returns:
      `step(state, frozen, batch) -> (state, loss)`, as `make_train_step` does; the state's step
      counts batches of images, the loss is the negative log-likelihood, nats per dimension, each
      group's before its own optimizer step.

    Raises:
      ValueError: when called, if a map of a batch has fewer vectors than a group.

    Reference: arXiv 2107.12571, section 5.1 (groups of 8,192); its public code has groups of 256.
    """
    pyramid = detector.pyramid

    def step(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, jax.Array]:
        maps = encode(frozen, batch)
        share, key, factor = device_share(vectors), step_key(state), rate(state.step)
        params, moments = dict(state.params), dict(state.optimizer_state)
        nats, numbers = jnp.zeros(()), 0
        normalized: Any = pyramid.apply(
            state.variables, maps, leave_one_out=True, method="normalize"
        )
        for i, (x, outer) in enumerate(zip(*normalized, strict=True)):
            names = [name for name in (flow_name(i), base_name(i)) if name in params]
            order = _groups(jax.random.fold_in(key, i), x.shape[:3], share)
            take = _make_group_step(detector, i, x, outer, state.constants, optimizer, factor)
            start = tuple({name: of[name] for name in names} for of in (params, moments))
            trained, log_prob = jax.lax.scan(take, start, order)
            params, moments = params | trained[0], moments | trained[1]
            positions = x.shape[1] * x.shape[2]
            nats -= positions * log_prob.mean()
            numbers += positions * x.shape[3]
        state = state.replace(step=state.step + 1, params=params, optimizer_state=moments)
        return state, nats / numbers

    return devices.run(step, (REPLICATED, REPLICATED, BATCH), REPLICATED, donate=(0,))


def _groups(key: jax.Array, shape: Sequence[int], share: int) -> jax.Array:
    """Draw groups i32[groups, share] of a device's vectors of a map [b, h, w]."""
    count = shape[0] * shape[1] * shape[2]
    groups = count // share
    if not groups:
        raise ValueError(f"groups of {share} vectors: a batch's map has only {count} on a device")
    return jax.random.permutation(key, count)[: groups * share].reshape(groups, share)


def _make_group_step(
    detector: FlowDetector,
    i: int,
    x: jax.Array,
    outer: jax.Array,
    constants: Any,
    optimizer: optax.GradientTransformation,
    factor: jax.Array,
) -> Callable:
    """Return `take((params, moments), index) -> ((params, moments), mean log p)` of flow i."""
    name, flow, channels = flow_name(i), detector.pyramid.flow, x.shape[-1]
    code = detector.pyramid.code(x.shape[1], x.shape[2])
    positions = x.shape[1] * x.shape[2]
    every, outers = x.reshape(-1, channels), outer.reshape(-1)
    codes = None if code is None else code.reshape(-1, code.shape[-1])

    def take(carry, index):
        params, moments = carry
        condition = None if codes is None else codes[index % len(codes)]

        def mean_loss(params):
            variables = {"params": params[name], "constants": constants.get(name, {})}
            latent: Any = flow.apply(
                variables, every[index], condition, method="forward_and_log_det"
            )
            log_prob = _latent(detector, i, params, *latent).log_prob() + outers[index]
            # A vector's share of an image's prior.
            prior = detector.loss.of_nats(detector.prior(params[name]) / positions, channels)
            loss = detector.loss.of_vectors(log_prob, channels).mean() + prior
            return loss, log_prob.mean()

        gradients, log_prob = jax.grad(mean_loss, has_aux=True)(params)
        gradients, log_prob = mean_over_devices((gradients, log_prob))
        updates, moments = optimizer.update(gradients, moments, params)
        return (apply_updates(params, updates, factor), moments), log_prob

    return take


def _latent(
    detector: FlowDetector, i: int, params: Any, z: jax.Array, log_det: jax.Array
) -> Latent:
    """Return the latents of vectors of map i with what their base says of them."""
    components = detector.pyramid.components
    if components == 1:
        return Latent(z, log_det)
    own = {"params": params[base_name(i)]}
    log_base: Any = HierarchicalMixture(components).apply(own, z, method="log_prob")
    return Latent(z, log_det, log_base)


def check_vectors(
    name: str, vectors: int, batch_size: int, sizes: Sequence[tuple[int, int]]
) -> None:
    """Check that every feature map of a batch has enough vectors for one group.

    Args:
      name: of the configuration key, for the message.
      vectors: of a group.
      batch_size: images of a batch.
      sizes: (height, width) of the maps.

    Raises:
      InputError: naming the smallest map, if it has too few.
    """
    height, width = min(sizes, key=lambda size: size[0] * size[1])
    count = batch_size * height * width
    if vectors > count:
        raise InputError(
            f"{name} {vectors}: the feature map of {height} x {width} has only {count} vectors in "
            f"a batch of {batch_size} images; use {count} or fewer, a larger batch or larger images"
        )
