"""A coupling over the maps of an encoder, in which each map is transformed given all of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows.arguments import check_condition, check_map, check_maps
from jaxflow.flows.bijection import Value
from jaxflow.flows.conditioner import ConvNetwork, bias_uniform, fan_in_uniform, hidden_width, join
from jaxflow.flows.coupling import Coupling, split_channels
from jaxflow.flows.per_map import PerMap
from jaxflow.flows.permutation import SwapHalves
from jaxflow.flows.transform import Transform


class MapsNetwork(ConvNetwork):
    """What networks of convolutions over several maps share: the first convolution of each map.

    The fields are those of `ConvNetwork`.
    """

    @nn.nowrap
    def first(
        self, a: Sequence[jax.Array], condition: Sequence[jax.Array] | None
    ) -> list[jax.Array]:
        """Map each a f[..., h_i, w_i, c_i], joined with its condition, to its hidden width.

        To be called in the `__call__` of the network. Each map has its own convolution, `input_i`.

        Raises:
          ValueError: if the conditions are not as many as the maps, or do not broadcast to them.
        """
        conditions = [None] * len(a) if condition is None else condition
        check_maps("condition", conditions, len(a))
        return [self._first(i, *pair) for i, pair in enumerate(zip(a, conditions, strict=True))]

    @nn.nowrap
    def _first(self, i, a, condition):
        width = hidden_width(self.hidden_ratio, a.shape[-1])
        a = join(a, check_condition(condition, a.shape[:-1]))
        bias_init = bias_uniform(self.kernel_size**2 * a.shape[-1])
        inits = {"kernel_init": fan_in_uniform, "bias_init": bias_init}
        return self.convolution(width, name=f"input_{i}", **inits)(a)


class CrossMapConditioner(MapsNetwork):
    """Two convolutions for each map; between them every map sees all others, resized to its size.

    With h_i = conv(a_i), the output of map i is `conv(relu(h_i + sum_j resize(conv_1x1(h_j))))`,
    the sum over all other maps. Resizing is bilinear, with antialiasing where a map gets smaller.

    Attributes:
      kernel_size: of the convolutions of each map, odd.
      hidden_ratio: hidden width of a map over the channels of its a (rounded, at least 1).
      dtype: compute dtype of the convolutions; None computes in the dtype of a.
      param_dtype: dtype of the parameters.
      precision: of the products, as `jax.lax` takes it.
      output_init: initializer of the last kernels; PyTorch's default.

    Raises:
      ValueError: if `kernel_size` is even, hidden_ratio is not positive, a dtype is not floating,
        precision is none of JAX's, or the conditions are not as many as the maps, or do not
        broadcast to them.

    It is CS-Flow's network (arXiv 2110.02855, section 3.2) for maps of any sizes, where every map
    takes the place of the neighbours; CS-Flow's own is `CrossScaleConditioner`.
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
        hidden, conv = self.first(a, condition), self.convolution
        outputs = []
        for i, own in enumerate(hidden):
            *_, height, width, channels = own.shape
            for j, other in enumerate(hidden):
                if j != i:
                    cross = conv(
                        channels, kernel_size=(1, 1), use_bias=False, name=f"cross_{j}_{i}"
                    )
                    own = own + self._resize(cross(other), height, width)
            output = conv(features[i], kernel_init=self.output_init, name=f"output_{i}")
            outputs.append(output(nn.relu(own)))
        return tuple(outputs)

    def _resize(self, x, height, width):
        shape = (*x.shape[:-3], height, width, x.shape[-1])
        return jax.image.resize(x, shape, "bilinear", precision=self.precision)


class CrossMapCoupling(Coupling):
    """Transform one half of the channels of every map, given the other halves of all maps.

    With each x_i split into a_i (the first c_i - c_i // 2 channels) and b_i (the rest), and
    s_i, t_i = conditioner(a_1, ..., a_n [, conditions]):

      forward: `z_i = concat(a_i, b_i * exp(log_scale(s_i)) + 0.1 t_i)`;
      log_det: `sum_c log_scale(s_i)` at every position of map i;
      inverse: the same in reverse: all a_i are known, so s_i and t_i are too.

    Attributes:
      conditioner: a Flax module called as `module(a, condition, features=n)` with tuples of one
        entry a map, such as `CrossMapConditioner`; it returns a tuple.
      **others: see `Coupling`.

    Raises:
      ValueError: as `Coupling`, and if x is not a tuple of maps f[..., h_i, w_i, c_i] with the same
        leading axes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> flow = CrossMapCoupling(CrossMapConditioner())
      >>> x = jnp.ones((2, 4, 4, 6)), jnp.ones((2, 2, 2, 8))
      >>> variables = flow.init(jax.random.key(0), x)
      >>> z, log_det = flow.apply(variables, x, method="forward_and_log_det")
      >>> [each.shape for each in log_det]
      [(2, 4, 4), (2, 2, 2)]

    Reference: arXiv 2110.02855, section 3.2.
    """

    joint = True

    def forward_and_log_det(self, x: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each x f[..., h, w, c] to z f[..., h, w, c] and log_det f[..., h, w], nats."""
        return self._run("x", x, condition, inverse=False)

    def inverse_and_log_det(self, z: Value, condition: Value = None) -> tuple[Value, Value]:
        """Map each z f[..., h, w, c] to x and the inverse's log_det f[..., h, w], nats."""
        return self._run("z", z, condition, inverse=True)

    def _run(self, name, maps, condition, inverse):
        maps = [check_map(f"{name}[{i}]", each) for i, each in enumerate(check_maps(name, maps))]
        if len({each.shape[:-3] for each in maps}) > 1:
            got = [each.shape for each in maps]
            raise ValueError(f"{name} must have maps with the same leading axes, got {got}")
        a, b = zip(*map(split_channels, maps), strict=True)
        features = tuple(self.transform.outputs * each.shape[-1] for each in b)
        numbers = self.network(a, condition, features=features)
        transform = self.transform.inverse if inverse else self.transform.forward
        pairs = [
            transform(each, given.astype(each.dtype))
            for each, given in zip(b, numbers, strict=True)
        ]
        halves, log_dets = zip(*pairs, strict=True)
        joined = (jnp.concatenate(pair, -1) for pair in zip(a, halves, strict=True))
        return tuple(joined), log_dets


def couple_both_halves(
    conditioner: nn.Module, transform: Transform, maps: int
) -> tuple[CrossMapCoupling, PerMap, CrossMapCoupling]:
    """Return links that transform one half of the channels of all maps, and then the other.

    Args:
      conditioner: of which each of the two couplings has a copy.
      transform: of both.
      maps: number of them.
    """
    first, second = (
        CrossMapCoupling(conditioner.clone(), coupling=transform, parent=None) for _ in range(2)
    )
    return first, PerMap(SwapHalves(parent=None), maps, parent=None), second
