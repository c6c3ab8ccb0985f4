"""The training step and the validation step over all devices."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from jaxflow.detectors import Objective
from jaxflow.parallel import BATCH, PMAP, REPLICATED, Devices, device_index, mean_over_devices

# (frozen variables, batch) -> feature maps: an encoder, or `as_maps`.
Encode = Callable[[Any, Any], Any]
# step i32[] -> factor f[] of the optimizer's learning rate.
Rate = Callable[[jax.Array], jax.Array]


class TrainState(flax.struct.PyTreeNode):
    """Everything that training changes, and what it needs to go on.

    Attributes:
      step: i32[], batches of images taken: an optimizer step each, or, on groups of vectors, many.
      params: what the optimizer trains.
      constants: what it does not (permutations, statistics).
      optimizer_state: of optax.
      key: the run's random key data u32[2]; step s uses it folded with s.
    """

    step: jax.Array
    params: Any
    constants: Any
    optimizer_state: Any
    key: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """Return the detector's variables."""
        return {"params": self.params, "constants": self.constants}


def create_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """Return the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        constants=variables.get("constants", {}),
        optimizer_state=optimizer.init(variables["params"]),
        key=jax.random.key_data(jax.random.key(seed)),
    )


def as_maps(frozen: Any, batch: Any) -> Any:
    """Return a batch that holds feature maps already."""
    del frozen
    return batch


def constant_rate(step: jax.Array) -> jax.Array:
    """Return 1."""
    del step
    return jnp.ones(())


def step_key(state: TrainState) -> jax.Array:
    """Return the random key of a state's next step on this device."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    return jax.random.fold_in(key, device_index())


def apply_updates(params: Any, updates: Any, factor: jax.Array) -> Any:
    """Return the parameters after an optimizer's updates at `factor` times its learning rate."""
    scaled = jax.tree.map(lambda update: factor.astype(update.dtype) * update, updates)
    return optax.apply_updates(params, scaled)


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    rate: Rate = constant_rate,
    encode: Encode = as_maps,
    devices: Devices = PMAP,
) -> Callable:
    """Return the step over all devices of all hosts: replicated state in (donated) and out.

    Args:
      objective: loss of each image; its mean over the global batch is minimized.
      optimizer: of optax.
      rate: factor of the learning rate at a step.
      encode: gives the feature maps of a batch.
      devices: run the step.

    Returns:
      `step(state, frozen, batch) -> (state, loss)`: state and frozen as `devices.replicate` makes
      them, the batch as `devices.shard` does; loss f[], nats per dimension, replicated.
    """

    def step(state: TrainState, frozen: Any, batch: Any) -> tuple[TrainState, jax.Array]:
        key = step_key(state)

        maps = encode(frozen, batch)

        def mean_loss(params):
            variables = {"params": params, "constants": state.constants}
            loss, per_dimension = objective(variables, maps, key)
            return loss.mean(), per_dimension.mean()

        gradients, per_dimension = jax.grad(mean_loss, has_aux=True)(state.params)
        gradients, per_dimension = mean_over_devices((gradients, per_dimension))
        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
        state = state.replace(
            step=state.step + 1,
            params=apply_updates(state.params, updates, rate(state.step)),
            optimizer_state=optimizer_state,
        )
        return state, per_dimension

    return devices.run(step, (REPLICATED, REPLICATED, BATCH), REPLICATED, donate=(0,))


def make_validation_step(nats: Callable, devices: Devices = PMAP) -> Callable:
    """Return `step(state, maps) -> f[b]`: nats per dimension of each image, over the devices.

    Args:
      nats: (variables, maps) -> f[b].
      devices: run the step.
    """

    def step(state: TrainState, maps: Any) -> jax.Array:
        return nats(state.variables, maps)

    return devices.run(step, (REPLICATED, BATCH), BATCH)
