r"""A score of your own: the largest latent of all channels.

    python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/worst \
        --plugin=examples/worst_channel_score.py --config.evaluation.score=worst_channel
    python -m jaxflow.evaluate --workdir=runs/worst --plugin=examples/worst_channel_score.py

A defect that shows in one channel of many moves their mean little. The report shows the score
beside the others. The names "worst_channel-calibrated" and "worst_channel-top" can be given too.
"""

import jax.numpy as jnp

from jaxflow.detectors import SCORES, LatentScore


def worst_channel(latent):
    """Return max_c |z| f[b, h, w] of one map's latents z f[b, h, w, c]."""
    return jnp.abs(latent.z).max(-1)


SCORES["worst_channel"] = LatentScore(
    worst_channel, "the largest of the latents' absolute values at a position."
)
