"""Research without the command line: a flow on feature maps, trained by a loop of your own.

    python examples/own_loop.py

Data, encoder, flow and metric are plain functions and arrays, and each can be yours. It prints the
loss after each epoch, in nats per dimension, and at the end the AUROC of the test images.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxflow.data.loading import load_dataset
from jaxflow.data.pipeline import read_images
from jaxflow.detectors import upsample
from jaxflow.encoders import load_encoder
from jaxflow.evaluation import image_auroc
from jaxflow.flows import Chain, FastFlow2D, LayerNorm, PerMap


def main(weights="hub", stages=(2, 3), size=128, steps=4, epochs=20, batch=16, **options):
    """Train and evaluate; return the AUROC of the test images."""
    dataset = load_dataset("textures", size=size, **options)
    encoder = load_encoder("resnet18", stages=stages, weights=weights)

    def encode(split):
        return encoder.compiled(encoder.variables, read_images(split, (size, size)))

    train, test = encode(dataset.train), encode(dataset.test)
    flow = PerMap(Chain([LayerNorm(), FastFlow2D(steps=steps)]), maps=len(train))
    variables = jax.jit(flow.init)(jax.random.key(0), train)
    params, constants = variables["params"], variables["constants"]
    optimizer = optax.adam(1e-3)

    def nll(params, maps):  # Of every position, in nats per dimension.
        log_prob = flow.apply({"params": params, "constants": constants}, maps, method="log_prob")
        return [-each / m.shape[-1] for each, m in zip(log_prob, maps, strict=True)]

    @jax.jit
    def step(params, state, maps):
        loss, gradients = jax.value_and_grad(lambda p: sum(m.mean() for m in nll(p, maps)))(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    state, order = optimizer.init(params), np.random.default_rng(0)
    for epoch in range(epochs):
        shuffled = order.permutation(len(dataset.train))
        for start in range(0, len(shuffled) - batch + 1, batch):
            chosen = shuffled[start : start + batch]
            params, state, loss = step(params, state, [m[chosen] for m in train])
        print(f"epoch {epoch + 1}: {loss:.4f}")

    anomaly_maps = sum(upsample(m, (size, size)) for m in jax.jit(nll)(params, test))
    auroc = image_auroc(dataset.test.labels, jnp.max(anomaly_maps, (1, 2)))
    print(f"image AUROC {auroc:.3f}")
    return auroc


if __name__ == "__main__":
    main()
