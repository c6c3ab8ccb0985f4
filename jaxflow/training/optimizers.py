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
