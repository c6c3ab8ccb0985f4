r"""A detector of your own: the distance of an image's features from those of the mean normal image.

    python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/mean \
        --plugin=examples/mean_detector.py --config.model.detector=mean \
        --config.model.options.power=1.0
    python -m jaxflow.evaluate --workdir=runs/mean --plugin=examples/mean_detector.py

A detector learns by passes over the feature maps of the normal images, by an objective that is
trained by gradient, or by both; `jaxflow/detectors/contract.py` says what it answers. What it
learned lies in its variables. The fields of its class are its options, keys of
`config.model.options`.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxflow.detectors import DETECTORS, Family, Pass, Scored, anomaly_score, upsample
from jaxflow.detectors.contract import Untrained
from jaxflow.encoders import Encoder


@dataclasses.dataclass(frozen=True, eq=False)
class MeanDetector(Untrained):
    """Score each position by its distance from the mean of the normal images there."""

    encoder: Encoder
    scores: tuple[str, ...] = ("distance",)
    power: float = 2.0

    meanings = {"distance": "the mean distance from the mean normal features, 0 at the least."}

    @property
    def before(self):
        def update(variables, carry, maps, valid):
            count, sums = carry
            new = [np.asarray(m)[valid].sum(0) for m in maps]
            return count + valid.sum(), new if sums is None else list(map(np.add, sums, new))

        def finish(variables, carry):
            count, sums = carry
            return self._variables([jnp.asarray(each / count) for each in sums])

        return (Pass(lambda variables: (0, None), update, finish),)

    def init(self, key, size):
        sizes = zip(self.encoder.map_sizes(size), self.encoder.channels, strict=True)
        return self._variables([jnp.zeros((*hw, c)) for hw, c in sizes])

    def score(self, variables, maps, size):
        means = [variables["constants"][f"mean_{i}"] for i in range(len(maps))]
        distances = [
            (abs(m - mean) ** self.power).mean(-1) for m, mean in zip(maps, means, strict=True)
        ]
        anomaly_map = sum(upsample(each, size) for each in distances)
        return {"distance": Scored(anomaly_map, anomaly_score(anomaly_map))}

    def _variables(self, means):
        return {"params": {}, "constants": {f"mean_{i}": mean for i, mean in enumerate(means)}}


DETECTORS["mean"] = Family(MeanDetector, MeanDetector.meanings)
