"""A mixture of Gaussians over single feature vectors."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from jaxflow.detectors.draw import Drawn
from jaxflow.detectors.per_vector import Constants, VectorDensity
from jaxflow.errors import InputError, needs_extra
from jaxflow.flows.arguments import check_choice, check_count, check_positive
from jaxflow.flows.mixture import GaussianMixture

# Our name of a covariance -> scikit-learn's.
_COVARIANCES = {"full": "full", "diagonal": "diag"}
_ITERATIONS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture(VectorDensity):
    """Fit a mixture of Gaussians to the vectors of each map, started by k-means.

    `log p(x) = log sum_k weight_k N(r(x); mean_k, cov_k) + log |det r'(x)|`: what a vector shows
    decides which Gaussian it belongs to, and not where it lies, so that images need not be aligned.
    scikit-learn fits it: k-means, then expectation and maximization, 200 times at most.

    Attributes:
      components: Gaussians of each map.
      covariance: "full", or "diagonal".
      regularization: is added to the diagonal of each covariance, as a share of the mean variance
        of all channels.
      **others: see `VectorDensity` and `PerVector`.

    Raises:
      ValueError: if an option is wrong.

    Reference: Bishop, "Pattern Recognition and Machine Learning", 2006, section 9.2.
    """

    components: int = 10
    covariance: str = "full"
    regularization: float = 1e-3

    def __post_init__(self):
        super().__post_init__()
        check_count("components", self.components)
        check_choice("covariance", self.covariance, _COVARIANCES)
        check_positive("regularization", self.regularization)

    def empty(self, channels: int) -> Constants:
        """Return log_weights f[k], means f[k, c] and factors f[k, c, c], or f[k, c]: zeros."""
        means = jnp.zeros((self.components, channels), float)
        shape = means.shape if self.covariance == "diagonal" else (*means.shape, channels)
        return {
            "log_weights": jnp.zeros(self.components, float),
            "means": means,
            "factors": jnp.zeros(shape, float),
        }

    def fit(self, drawn: Drawn, seed: int) -> Constants:
        """Fit the mixture of a map; see `PerVector`.

        Raises:
          InputError: if there are fewer vectors than components, or all vectors are the same.
        """
        with needs_extra("detectors"):
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.mixture import GaussianMixture as Fitted

        r = self.shorten(drawn.joined()[0])
        variance = r.var(0).mean()
        if len(r) < self.components or not variance > 0:
            raise InputError(
                f"mixture: {self.components} components need as many vectors that differ; "
                f"{drawn.images} normal images gave {len(r)}"
                f"{'' if variance > 0 else ', all the same'}; set components to fewer"
            )
        fitted = Fitted(
            self.components,
            covariance_type=_COVARIANCES[self.covariance],
            reg_covar=self.regularization * variance,
            max_iter=_ITERATIONS,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # That it has not converged, or that k-means found fewer clusters, makes it no less
            # of a density.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted.fit(r)
        root = np.linalg.cholesky if self.covariance == "full" else np.sqrt
        with np.errstate(divide="ignore"):
            log_weights = np.log(fitted.weights_)
        return {
            "log_weights": jnp.asarray(log_weights, float),
            "means": jnp.asarray(fitted.means_, float),
            "factors": jnp.asarray(root(fitted.covariances_), float),
        }

    def log_density(self, constants: Constants, r: jax.Array) -> jax.Array:
        """Return the log-density f[n] of vectors r f[n, c], nats."""
        return GaussianMixture(**constants).log_prob(r)
