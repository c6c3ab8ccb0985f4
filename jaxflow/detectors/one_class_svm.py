"""The one-class support vector machine."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.draw import Drawn
from jaxflow.detectors.kernels import log_kernel_sum
from jaxflow.detectors.over_positions import Meanings
from jaxflow.detectors.per_vector import Constants, PerVector
from jaxflow.errors import InputError, needs_extra
from jaxflow.flows.arguments import check_positive

# Of the solver: the order of the vectors changes no more than that.
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class OneClassSvm(PerVector):
    """Find the region that most normal vectors lie in, and score how far outside a vector is.

    The region of a map is `f(x) = sum_i alpha_i exp(-gamma |x - x_i|^2) >= rho`, with the support
    vectors x_i; scikit-learn finds them. The score is `log rho - log f(x)`, which is in the order
    of scikit-learn's `-decision_function = rho - f(x)` and still differs where all kernels vanish.

    Attributes:
      nu: share of the normal vectors that may lie outside, above 0 and at most 1.
      gamma: of the kernel; None: `1 / (c v)`, v the variance of all numbers (scikit-learn's
        "scale").
      pooled: true by default; single vectors are many, and fitting grows with their square.
      **others: see `PerVector`.

    Raises:
      ValueError: if an option is wrong.

    Reference: Schoelkopf et al., "Estimating the support of a high-dimensional distribution", 2001.
    """

    scores: tuple[str, ...] = ("svm",)
    pooled: bool = True
    vectors: int | None = 5_000
    nu: float = 0.1
    gamma: float | None = None

    meanings: ClassVar[Mapping[str, str]] = Meanings(
        {
            "svm": "how far the features lie outside of the region of normal ones: 0 on its edge, "
            "above 0 outside; it has no upper end.",
        }
    )

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.nu, bool) or not 0 < self.nu <= 1:
            raise ValueError(f"nu must be above 0 and at most 1, got {self.nu}")
        if self.gamma is not None:
            check_positive("gamma", self.gamma)

    def empty(self, channels: int) -> Constants:
        """Return support f[0, c], log_alphas f[0], gamma f[] and log_rho f[]."""
        return {
            "support": jnp.zeros((0, channels), float),
            "log_alphas": jnp.zeros(0, float),
            "gamma": jnp.ones((), float),
            "log_rho": jnp.zeros((), float),
        }

    def fit(self, drawn: Drawn, seed: int) -> Constants:
        """Find the support vectors of a map; see `PerVector`. Nothing is drawn.

        Raises:
          InputError: if there are fewer than two vectors, or all are the same.
        """
        del seed
        with needs_extra("detectors"):
            from sklearn.svm import OneClassSVM

        vectors = drawn.joined()[0].astype(np.float64)
        variance = vectors.var()
        if not vectors.var(0).any():
            raise InputError(
                f"one-class SVM: {len(vectors)} vectors of {drawn.images} normal images; expected "
                "at least 2 that differ; add images"
            )
        gamma = self.gamma or 1.0 / (vectors.shape[1] * variance)
        fitted = OneClassSVM(kernel="rbf", gamma=gamma, nu=self.nu, tol=_TOLERANCE).fit(vectors)
        return {
            "support": jnp.asarray(fitted.support_vectors_, float),
            "log_alphas": jnp.asarray(np.log(fitted.dual_coef_[0]), float),
            "gamma": jnp.asarray(gamma, float),
            "log_rho": jnp.asarray(np.log(-fitted.intercept_[0]), float),
        }

    def judge(self, constants: Constants, x: jax.Array) -> jax.Array:
        """Return how far outside f[n] vectors x f[n, c] are."""
        inside = log_kernel_sum(
            x, constants["support"], constants["log_alphas"], 2.0 * constants["gamma"]
        )
        return constants["log_rho"] - inside
