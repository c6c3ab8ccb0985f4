"""The optimizers of the papers, by name."""

from collections.abc import Callable

import optax


def adam_l2(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Return Adam with L2 inside the gradient, what PyTorch's `Adam(weight_decay=...)` does.

    Reference: arXiv 2111.07677, section 4.4 (learning rate 1e-3, weight decay 1e-5).
    """
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


OPTIMIZERS: dict[str, Callable[[float, float], optax.GradientTransformation]] = {
    "adam_l2": adam_l2,
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
}


def separately(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Give each top-level entry of the parameters an optimizer of its own.

    What an update is not given keeps its parameters, its moments and its count. CFLOW's public
    code has one Adam over all decoders, which passes over parameters without a gradient: those of
    the decoders whose turn it is not. That is the same.

    Args:
      optimizer: of each entry.

    Returns:
      State by entry. `update` takes the entries that have gradients, with their state and
      parameters, and returns theirs alone.
    """

    def init(params):
        return {name: optimizer.init(part) for name, part in params.items()}

    def update(updates, state, params=None):
        results = {
            name: optimizer.update(part, state[name], None if params is None else params[name])
            for name, part in updates.items()
        }
        return (
            {name: result[0] for name, result in results.items()},
            {name: result[1] for name, result in results.items()},
        )

    return optax.GradientTransformation(init, update)
