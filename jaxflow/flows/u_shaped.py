"""The U-shaped flow over all maps: from the coarsest to the finest, what is left goes up."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_map, check_maps
from jaxflow.flows.bijection import Value
from jaxflow.flows.coupling_flow import FastFlow2D
from jaxflow.flows.reshape import Split, Squeeze

_FIELDS = [field.name for field in dataclasses.fields(FastFlow2D)]


class UShapedFlow(FastFlow2D, kw_only=True):
    """Run maps, the coarsest first, through stages of FastFlow's steps; half of each goes up.

    With maps x_1 (the finest) to x_n, each grid twice as fine as the next, h_n = x_n, and a stage
    f_i of each map, a `FastFlow2D`:

      forward: `u_i, z_i = halves of f_i(h_i)`, `h_{i-1} = concat(x_{i-1}, unsqueeze(u_i))`, and at
        last `z_1 = f_1(h_1)`, where `unsqueeze` makes four channels of a position its 2 x 2 finer
        ones, the inverse of `Squeeze`;
      log_det: f[b, h_i, w_i] a map, all of its stage, also of the half that goes up;
      inverse: exact, in closed form, from the finest to the coarsest.

    So z_i has other channels than x_i. This is the paper that calls itself U-Flow; CFLOW-AD's UFLOW
    is another, an unconditional `CFlowDecoder`. One map is a `FastFlow2D`.

    Attributes:
      steps: number of coupling steps of each stage.
      kernel_sizes: odd sizes repeated over the steps of each stage.
      **others: see `FastFlow2D`.

    Raises:
      ValueError: as `FastFlow2D`, and if a map is not twice as high and wide as the next, or the
        channels of a stage that goes up are no multiple of 8. (In the public code such a stage is
        halved unevenly.)

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = UShapedFlow(steps=1)
      >>> x = jnp.ones((2, 4, 4, 6)), jnp.ones((2, 2, 2, 8))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(2, 4, 4, 7), (2, 2, 2, 4)]

    Reference: arXiv 2211.12353, section 3.2.
    """

    joint = True

    steps: int = 4

    def setup(self):
        """Leave the stages to the first call, which tells how many maps there are."""

    @property
    def pointwise(self) -> bool:
        """No: positions go to other grids."""
        return False

    @nn.compact
    def _parts(self, maps: int) -> tuple[list[FastFlow2D], Split, Squeeze]:
        """Return a stage for each map, the finest first, and what joins them."""
        fields = {name: getattr(self, name) for name in _FIELDS if name not in ("parent", "name")}
        stages = [FastFlow2D(**fields, name=f"stages_{i}") for i in range(maps)]
        return stages, Split(name="halves"), Squeeze(name="squeeze")

    def forward_and_log_det(
        self, x: Value, condition: Value = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Map each x f[..., h, w, c], given its condition, to z and log_det f[..., h, w], nats."""
        x, conditions = _checked("x", x, condition)
        stages, halves, squeeze = self._parts(len(x))
        rows = list(zip(stages, x, conditions, strict=True))
        outputs: list[Any] = []
        up = None
        while rows:
            stage, h, given = rows.pop()
            if up is not None:
                h = jnp.concatenate([h, squeeze.inverse(up)], axis=-1)
            z, log_det = stage.forward_and_log_det(h, given)
            if rows:
                _check_halves(len(rows), z.shape[-1])
                up, z = halves(z)
            outputs.append((z, log_det))
        return _unzip(reversed(outputs))

    def inverse_and_log_det(
        self, z: Value, condition: Value = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Map each z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        z, conditions = _checked("z", z, condition)
        stages, halves, squeeze = self._parts(len(z))
        outputs, up = [], None
        for i, (stage, own, given) in enumerate(zip(stages, z, conditions, strict=True)):
            h = own if up is None else halves.inverse((squeeze(up), own))
            x, log_det = stage.inverse_and_log_det(h, given)
            if i + 1 < len(z):
                # As many channels came up as stayed below, in four times the positions.
                came = z[i + 1].shape[-1] // 4
                _check_halves(i + 1, 2 * z[i + 1].shape[-1])
                x, up = jnp.split(x, [x.shape[-1] - came], axis=-1)
            outputs.append((x, log_det))
        return _unzip(outputs)


def _checked(name, maps, condition):
    """Return maps, each twice as high and wide as the next, and the condition of each."""
    maps = [check_map(f"{name}[{i}]", each) for i, each in enumerate(check_maps(name, maps))]
    for i, (finer, coarser) in enumerate(itertools.pairwise(maps)):
        height, width = coarser.shape[-3:-1]
        if finer.shape[:-1] != (*coarser.shape[:-3], 2 * height, 2 * width):
            raise ValueError(
                f"{name}[{i}] must be twice as high and wide as {name}[{i + 1}], f[..., "
                f"{2 * height}, {2 * width}, c], got shape {finer.shape}"
            )
    conditions = [None] * len(maps) if condition is None else condition
    return maps, check_maps("condition", conditions, len(maps))


def _check_halves(i, channels):
    """Raise ValueError unless half of the channels of stage i can go up."""
    if channels % 8:
        raise ValueError(
            f"stage {i} must have a multiple of 8 channels, for half of them go to a grid twice as "
            f"fine, got {channels}"
        )


def _unzip(pairs):
    values, log_dets = zip(*pairs, strict=True)
    return values, log_dets
