"""CS-Flow: couplings over the maps of several scales, each of which sees its neighbours."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import (
    check_choice,
    check_count,
    check_maps,
    check_sequence,
)
from jaxflow.flows.bijection import Bijection, Value
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import bias_uniform, fan_in_uniform
from jaxflow.flows.cross_map import MapsNetwork, couple_both_halves
from jaxflow.flows.linear import PERMUTATIONS
from jaxflow.flows.per_map import PerMap
from jaxflow.flows.resize import resize_bilinear
from jaxflow.flows.transform import AffineTransform

_SLOPE = 0.1


class CrossScaleConditioner(MapsNetwork):
    """Two convolutions for each map; the second reads the map and both its neighbours in scale.

    With maps from the finest to the coarsest and h_i = leaky_relu(conv(a_i)), slope 0.1, the output
    of map i is `scale_i (conv(h_i) + conv(resize(h_{i+1})) + conv_stride_2(h_{i-1}))`, without the
    neighbours that do not exist. Resizing is bilinear. scale f[maps] is trained, and starts at 0.

    Attributes:
      kernel_size: of all convolutions, odd.
      hidden_ratio: hidden width of a map over the channels of its a (rounded, at least 1).
      dtype: compute dtype of the convolutions; None computes in the dtype of a.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernels; PyTorch's default.

    Raises:
      ValueError: if `kernel_size` is even, hidden_ratio is not positive, a dtype is not floating,
        precision is none of JAX's, a map is not half as high and wide as the one before (rounded
        up), or the conditions are not as many as the maps, or do not broadcast to them.

    Reference: arXiv 2110.02855, section 3.2; scale is of its public code.
    """

    @nn.compact
    def __call__(
        self,
        a: Sequence[jax.Array],
        condition: Sequence[jax.Array] | None = None,
        *,
        features: Sequence[int],
    ) -> tuple[jax.Array, ...]:
        """Map each a f[..., h_i, w_i, c_i] (and condition) to f[..., h_i, w_i, features_i]."""
        self.check()
        _check_scales(a)
        hidden = [nn.leaky_relu(h, _SLOPE) for h in self.first(a, condition)]
        scale = self.param("scale", nn.initializers.zeros, (len(a),), self.param_dtype)
        outputs = []
        for i, own in enumerate(hidden):
            output = self._convolve(f"output_{i}", features[i], own)
            if i + 1 < len(a):
                height, width = own.shape[-3:-1]
                coarser = resize_bilinear(hidden[i + 1], height, width, align_corners=False)
                output += self._convolve(f"up_{i + 1}", features[i], coarser)
            if i > 0:
                output += self._convolve(
                    f"down_{i - 1}",
                    features[i],
                    hidden[i - 1],
                    strides=2,
                    padding=self.kernel_size // 2,
                )
            outputs.append(output * scale[i].astype(output.dtype))
        return tuple(outputs)

    def _convolve(self, name, features, x, **options):
        bias_init = bias_uniform(self.kernel_size**2 * x.shape[-1])
        inits = {"kernel_init": self.output_init, "bias_init": bias_init}
        return self.convolution(features, name=name, **inits, **options)(x)


class CSFlow(Bijection, kw_only=True):
    """Steps over all maps together: in each, one half of the channels of all maps is transformed.

    forward: each step permutes the channels of every map, then a `CrossMapCoupling` with a
      `CrossScaleConditioner` transforms one half of them, and another the other half;
    log_det: f[b, h_i, w_i] a map, the sum over the steps;
    inverse: exact, in closed form.

    The maps are from the finest to the coarsest. The paper's are of one stage of the encoder, for
    an image at three sizes: the option `input_scales` of encoders.

    Attributes:
      steps: number of them.
      kernel_sizes: odd sizes of the conditioners' convolutions, repeated over the steps.
      hidden_ratio: hidden width over the channels of a, the half that conditions; the published one
        is 1,024 for 304 channels.
      clamp: bound of |log_scale|.
      log_scale: "tanh", "unit_slope_tanh", "arctan" or "unclamped".
      permutation: "hard", "soft" or "linear"; see `CouplingFlow`.
      dtype: compute dtype of the conditioners; None follows x.
      param_dtype: dtype of the parameters.
      precision: of every product, as `jax.lax` takes it.
      output_init: initializer of each conditioner's last kernels; PyTorch's default.

    Raises:
      ValueError: as `CrossMapCoupling` and `CrossScaleConditioner`; if steps < 1 or kernel_sizes is
        empty.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = CSFlow(steps=1)
      >>> x = jnp.ones((2, 4, 4, 6)), jnp.ones((2, 2, 2, 6))
      >>> z, variables = jax.eval_shape(flow.init_with_output, jax.random.key(0), x)
      >>> [each.shape for each in z]
      [(2, 4, 4, 6), (2, 2, 2, 6)]

    Reference: arXiv 2110.02855.
    """

    joint = True

    steps: int = 4
    kernel_sizes: Sequence[int] = (3, 3, 3, 5)
    hidden_ratio: float = 1024 / 152
    clamp: float = 3.0
    log_scale: str = "arctan"
    permutation: str = "hard"
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    precision: Any = "highest"
    output_init: Callable = fan_in_uniform

    @nn.compact
    def _chain(self, maps: int) -> Chain:
        """Return the steps over that many maps."""
        check_count("steps", self.steps)
        check_choice("permutation", self.permutation, PERMUTATIONS)
        check_sequence("kernel_sizes", self.kernel_sizes, "a sequence of odd integers")
        if not self.kernel_sizes:
            raise ValueError("kernel_sizes must name at least one size, got none")
        links = [link for i in range(self.steps) for link in self._step(i, maps)]
        return Chain(links, name="chain")

    @nn.nowrap
    def _step(self, i: int, maps: int) -> list[Bijection]:
        permutation = PERMUTATIONS[self.permutation](
            param_dtype=self.param_dtype, precision=self.precision, parent=None
        )
        conditioner = CrossScaleConditioner(
            self.kernel_sizes[i % len(self.kernel_sizes)],
            self.hidden_ratio,
            self.dtype,
            self.param_dtype,
            self.precision,
            self.output_init,
            parent=None,
        )
        transform = AffineTransform(self.clamp, self.log_scale, shift=1.0)
        couplings = couple_both_halves(conditioner, transform, maps)
        return [PerMap(permutation, maps, parent=None), *couplings]

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., h, w, c], given its condition, to z and log_det f[..., h, w], nats."""
        return self._chain(len(check_maps("x", x))).forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self._chain(len(check_maps("z", z))).inverse_and_log_det(z, condition)


def _check_scales(a):
    """Raise ValueError unless each map is half as high and wide as the one before, rounded up."""
    sizes = [each.shape[-3:-1] for each in a]
    for (height, width), after in zip(sizes, sizes[1:], strict=False):
        expected = (-(-height // 2), -(-width // 2))
        if after != expected:
            raise ValueError(
                f"maps must halve from one to the next, got {sizes}, where "
                f"{height} x {width} halves to {expected[0]} x {expected[1]}"
            )
