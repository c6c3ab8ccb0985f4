"""The optimizers of the papers, by name."""

from collections.abc import Callable

import optax


def adam_l2(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Return Adam with L2 inside the gradient, what PyTorch's `Adam(weight_decay=...)` does.

    Reference: arXiv 2111.07677, section 4.4 (learning rate 1e-3, weight decay 1e-5).
    """
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


def adam_clipped(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Return `adam_l2` of gradients whose norm over all parameters is at most 2.

    Source: MSFlow's public code (arXiv 2308.15300).
    """
    return optax.chain(optax.clip_by_global_norm(2.0), adam_l2(learning_rate, weight_decay))


def adam_cs_flow(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Return Adam with L2, epsilon 1e-4, of gradients whose norm is at most 1.

    Source: CS-Flow's public code (arXiv 2110.02855); its loss is in nats per dimension.
    """
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.add_decayed_weights(weight_decay),
        optax.adam(learning_rate, eps=1e-4),
    )


def adam_differnet(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Return Adam with L2, epsilon 1e-4 and both decay rates 0.8.

    Source: DifferNet's public code (arXiv 2008.12577); its loss is in nats per dimension.
    """
    adam = optax.adam(learning_rate, b1=0.8, b2=0.8, eps=1e-4)
    return optax.chain(optax.add_decayed_weights(weight_decay), adam)


OPTIMIZERS: dict[str, Callable[[float, float], optax.GradientTransformation]] = {
    "adam_l2": adam_l2,
    "adam_clipped": adam_clipped,
    "adam_cs_flow": adam_cs_flow,
    "adam_differnet": adam_differnet,
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
}


def separately(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Give each top-level entry of the parameters an optimizer of its own.

    Entries without a gradient keep their parameters and optimizer state, as PyTorch's Adam, which
    CFLOW's public code has over all decoders, skips parameters whose gradient is None.

    Args:
      optimizer: of each entry.

    Returns:
      State by entry. `update` takes the entries that have gradients, with their state and
      parameters, and returns only theirs.
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
