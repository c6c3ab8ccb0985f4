r"""A score of your own: how far latents are from where those of normal images are, on either side.

    python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/typicality \
        --plugin=examples/typicality_score.py --config.evaluation.score=typicality
    python -m jaxflow.evaluate --workdir=runs/typicality --plugin=examples/typicality_score.py

In high dimensions a standard normal z has mean z^2 near 1. A position of mean z^2 near 0 is the
likeliest of all, and yet not typical (arXiv 1906.02994). The report shows the score beside the
others.
"""

import jax.numpy as jnp

from jaxflow.detectors import SCORES, LatentScore, averaged


def typicality(latent):
    """Return |mean_c z^2 - 1| f[b, h, w] of one map's latents z f[b, h, w, c]."""
    return jnp.abs(jnp.square(latent.z).mean(-1) - 1)


SCORES["typicality"] = LatentScore(
    averaged(typicality), "the distance of mean z² from 1, its value for normal images."
)
