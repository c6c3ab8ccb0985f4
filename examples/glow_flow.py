r"""A flow of your own: Glow's steps of affine map, 1x1 convolution and coupling (arXiv 1807.03039).

    python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/glow \
        --plugin=examples/glow_flow.py --config.model.flow=my_glow
    python -m jaxflow.evaluate --workdir=runs/glow --plugin=examples/glow_flow.py

A link is two methods, and `Chain` composes links. The fields of `Glow` can be chosen: as keys of
`config.model` where it has them, else as keys of `config.model.options`.
"""

import jax.numpy as jnp
from flax import linen as nn

from jaxflow.flows import FLOWS, Bijection, Chain, ConvConditioner, Coupling, GlobalAffine


class Conv1x1(Bijection):
    """Mix the channels: `z = x W`, with log_det `log |det W|` at every position."""

    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def _mix(self, x, inverse):
        shape = (x.shape[-1], x.shape[-1])
        w = self.param("kernel", nn.initializers.orthogonal(), shape, self.param_dtype)
        w = w.astype(x.dtype)  # In float64 where x is.
        w = jnp.linalg.inv(w) if inverse else w
        log_det = jnp.full(x.shape[:-1], jnp.linalg.slogdet(w)[1])
        return jnp.matmul(x, w, precision="highest"), log_det

    def forward_and_log_det(self, x, condition=None):
        return self._mix(x, inverse=False)

    def inverse_and_log_det(self, z, condition=None):
        return self._mix(z, inverse=True)


class Glow(Bijection):
    """Steps of affine map, 1x1 convolution and convolutional coupling."""

    steps: int = 8
    hidden_ratio: float = 1.0
    kernel_size: int = 3
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        dtype = {"param_dtype": self.param_dtype}
        conditioner = ConvConditioner(self.kernel_size, self.hidden_ratio, **dtype)
        step = GlobalAffine(**dtype), Conv1x1(**dtype), Coupling(conditioner)
        self.chain = Chain([link.clone() for _ in range(self.steps) for link in step])

    def forward_and_log_det(self, x, condition=None):
        return self.chain.forward_and_log_det(x, condition)

    def inverse_and_log_det(self, z, condition=None):
        return self.chain.inverse_and_log_det(z, condition)


FLOWS["my_glow"] = Glow
