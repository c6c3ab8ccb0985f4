"""What it costs to score an image with a model."""

import ml_collections

from jaxflow.experiments.benchmarking.workbench import Workbench
from jaxflow.experiments.detector import deciding_score, make_detector
from jaxflow.model import Model
from jaxflow.parallel import padded_size

_REPEATS = 5


def scoring_costs(config: ml_collections.ConfigDict, model: Model) -> dict[str, float]:
    """Measure the deciding score of a model, on random images that lie on the device.

    Args:
      config: of the run.
      model: that it left.

    Returns:
      score_ms: milliseconds an image, encoder included: the median of five calls with
        `evaluation.batch_size` images each, after compilation and two calls more.
      encoder_gflop, detector_gflop: 10^9 operations an image; see `count_operations`.
      model_mb: the encoder's weights and the detector's variables, 10^6 bytes.
      memory_mb: what the compiler plans to hold for such a call, 10^6 bytes; absent where it does
        not say.
    """
    detector = make_detector(config, model.detector.encoder, [deciding_score(config)])
    variables = model.selections[model.usual].variables
    bench = Workbench(detector, model.size, repeats=_REPEATS, variables=variables)
    batch = padded_size(model.batch_size)
    timing, (encoder, on_top) = bench.scoring(batch), bench.operations
    costs = {
        "score_ms": 1e3 * timing.median_s / batch,
        "encoder_gflop": encoder / 1e9,
        "detector_gflop": on_top / 1e9,
        "model_mb": bench.encoder_mb + bench.flow_mb,
        "memory_mb": timing.memory_mb,
    }
    return {name: value for name, value in costs.items() if value is not None}
