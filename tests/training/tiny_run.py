"""A whole training run in a second: tiny encoder, tiny flow, few steps; also a program to kill.

    python tiny_run.py WORKDIR [--augment] [--slow SECONDS] [--epochs COUNT]
    python tiny_run.py FILE.npz --steps COUNT [--vectors COUNT]
both with [--devices pmap|sharded] [--coordinator ADDRESS --process NUMBER --processes COUNT]

It prints a line once the training loop begins, and leaves with the exit code of `RunStopped`.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from absl import logging

from jaxflow.data import Example, Split
from jaxflow.data.augment import RandomFlipRotate
from jaxflow.detectors import LOSSES, FlowDetector, FlowPyramid
from jaxflow.encoders import Encoder
from jaxflow.encoders.module import FeatureModule
from jaxflow.errors import RunStopped
from jaxflow.experiments.signals import noted
from jaxflow.flows import CFlowDecoder, FastFlow2D
from jaxflow.parallel import PMAP, REPLICATED, SHARDED, Devices, padded_size
from jaxflow.training import (
    OPTIMIZERS,
    FeatureBatches,
    ImageBatches,
    KeptFeatures,
    Schedule,
    Trainer,
    create_state,
    make_train_step,
    make_validation,
    make_vector_step,
    separately,
)

DEVICES = {"pmap": PMAP, "sharded": SHARDED}
SIZE = (8, 12)
BATCH = 8


class TinyModule(FeatureModule):
    """Mean over patches, then a dense layer: one map."""

    channels = (4,)
    strides = (2,)

    def layout(self):
        return {}

    @nn.compact
    def __call__(self, x):
        pooled = [nn.avg_pool(x, (s, s), (s, s)) for s in self.strides]
        return tuple(nn.Dense(c)(p) for c, p in zip(self.channels, pooled, strict=True))


def make_encoder():
    module = TinyModule(stages=(1,))
    variables = module.init(jax.random.key(5), np.zeros((1, *SIZE, 3), np.float32))
    return Encoder(
        name="tiny",
        tag=None,
        weights="random",
        sha256=None,
        stages=(1,),
        module=module,
        variables=jax.tree.map(np.asarray, variables),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        input_size=8,
    )


def make_split(count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), np.uint8)
    mask = np.zeros(SIZE, np.bool_)
    examples = [Example(image, mask, 0, "good", f"{i}.png") for i, image in enumerate(images)]
    return Split.of(examples, [e.name for e in examples], [e.defect for e in examples])


def make_detector(encoder):
    # Kernels drawn, not zero, so that every parameter has a gradient from the first step.
    flow = FastFlow2D(steps=1, output_init=nn.initializers.normal(0.1))
    return FlowDetector(encoder, FlowPyramid(flow, maps=1))


@dataclasses.dataclass(frozen=True)
class Parts:
    """What trainers of the same run share, so that it is compiled once."""

    train_step: Callable
    make_batches: Callable
    validate: Callable
    state: Any
    devices: Devices


def make_decoders(encoder):
    flow = CFlowDecoder(steps=1, output_init=nn.initializers.normal(0.1))
    pyramid = FlowPyramid(flow, 1, "none", "position", condition_dim=4)
    return FlowDetector(encoder, pyramid, loss=LOSSES["log_sigmoid"])


def make_parts(augment, vectors=0, devices=PMAP):
    encoder, train = make_encoder(), make_split(2 * BATCH + 3, 1)
    detector = make_decoders(encoder) if vectors else make_detector(encoder)
    optimizer = OPTIMIZERS["adam_l2"](1e-2, 1e-5)
    if vectors:
        optimizer = separately(optimizer)
    if augment:
        augmentation = RandomFlipRotate(horizontal_flip=0.5, rotation=0.5, degrees=10.0)
        batches = functools.partial(ImageBatches, encoder, train, SIZE, augmentation=augmentation)
    else:
        batches = functools.partial(FeatureBatches, KeptFeatures(encoder, train, SIZE))
    make_batches = functools.partial(batches, batch_size=BATCH, seed=3, devices=devices)
    encode = make_batches().encode
    if vectors:
        step = make_vector_step(
            detector, optimizer, vectors=vectors, encode=encode, devices=devices
        )
    else:
        step = make_train_step(detector.objective, optimizer, encode=encode, devices=devices)
    held_out = KeptFeatures(encoder, make_split(5, 2), SIZE)
    return Parts(
        train_step=step,
        make_batches=make_batches,
        validate=make_validation(
            detector.likelihood.nats, held_out.take, 5, padded_size(1), devices
        ),
        state=jax.tree.map(
            np.asarray, create_state(detector.init(jax.random.key(0), SIZE), optimizer, seed=0)
        ),
        devices=devices,
    )


def make_trainer(parts, workdir, *, epochs=3, **changes):
    """Return a Trainer; `changes` replace its arguments."""
    arguments = {
        "train_step": parts.train_step,
        "batches": parts.make_batches(),
        "validate": parts.validate,
        "schedule": Schedule(epochs, steps_per_epoch=2),
        "devices": parts.devices,
        "say": lambda line: None,
        "signals": noted,
    }
    return Trainer(pathlib.Path(workdir), **(arguments | changes))


def copies(parts, state):
    """Stack what each local device holds of a replicated state, [devices, ...] each leaf."""

    def stack(leaf, one):
        held = [np.reshape(part.data, one.shape) for part in leaf.addressable_shards]
        return np.stack(held)

    return jax.tree.map(stack, state, parts.devices.gather(state, REPLICATED))


def take_steps(parts, count):
    """Take steps without a Trainer; return each local device's state [devices, ...], and losses."""
    batches, devices = parts.make_batches(), parts.devices
    state, frozen = devices.replicate(parts.state), devices.replicate(batches.frozen)
    losses = []
    for _ in range(count):
        state, loss = parts.train_step(state, frozen, devices.shard(next(batches)))
        losses.append(devices.gather(loss, REPLICATED))
    return copies(parts, state), losses


def slowed(train_step, seconds):
    def step(*arguments):
        time.sleep(seconds)
        return train_step(*arguments)

    return step


def save_leaves(path, state):
    leaves = jax.tree_util.tree_leaves_with_path(state)
    np.savez(path, **{jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in leaves})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="take these alone, without a Trainer")
    parser.add_argument("--vectors", type=int, default=0, help="of a group; 0: whole maps")
    parser.add_argument("--devices", choices=DEVICES, default="pmap")
    parser.add_argument("--coordinator")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    if options.processes > 1:
        jax.distributed.initialize(options.coordinator, options.processes, options.process)
    parts = make_parts(options.augment, options.vectors, DEVICES[options.devices])
    if options.steps:
        save_leaves(options.workdir, take_steps(parts, options.steps)[0])
        return
    step = slowed(parts.train_step, options.slow)
    trainer = make_trainer(parts, options.workdir, epochs=options.epochs, train_step=step)
    print("begins", flush=True)
    try:
        final = trainer.run(parts.state)
    except RunStopped as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    save_leaves(options.workdir / f"final{options.process}.npz", final)


if __name__ == "__main__":
    main()
