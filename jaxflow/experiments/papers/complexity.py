"""The papers' complexity tables: the detectors they measure and the figures they print."""

import dataclasses
from collections.abc import Mapping

from jaxflow.detectors import FlowPyramid
from jaxflow.flows import Bijection, CFlowDecoder, FastFlow2D


@dataclasses.dataclass(frozen=True)
class Setting:
    """A detector that a table measures.

    Attributes:
      stages: the encoder's maps that are read; None: its default ones.
      flow: of one map.
      normalization: of the maps, a key of `jaxflow.flows.NORMALIZATIONS`.
      condition: of the flows, a key of `jaxflow.detectors.CONDITIONS`.
      score: a key of `jaxflow.detectors.SCORES`.
      printed: the paper's figures by column, those that hold at every input size.
      printed_at: the paper's figures by column, for each input side that it measures, pixels.
    """

    stages: tuple[int, ...] | None
    flow: Bijection
    normalization: str
    condition: str
    score: str
    printed: Mapping[str, float]
    printed_at: Mapping[int, Mapping[str, float]]

    def pyramid(self, maps: int) -> FlowPyramid:
        """Return the flows of that many maps."""
        return FlowPyramid(self.flow, maps, self.normalization, self.condition)


@dataclasses.dataclass(frozen=True)
class ComplexityTable:
    """A paper's table.

    Attributes:
      source: where it is printed.
      notes: how the paper measured, and what is to be known when comparing.
      settings: by encoder, in the paper's order.
    """

    source: str
    notes: tuple[str, ...]
    settings: Mapping[str, Setting]


def _fastflow(
    kernel_sizes: tuple[int, ...],
    side: int,
    printed: tuple[float, float, float],
    *,
    transformer: bool = False,
) -> Setting:
    """Describe a row of FastFlow's Table 1; printed: FPS, A.d. time (ms), A.d. parameters (M)."""
    rate, additional_ms, additional_m = printed
    # The hidden layer is 128 of the transformers' 768 channels wide: 1/3 of the half that
    # conditions.
    size = {"steps": 20, "hidden_ratio": 1 / 3} if transformer else {"steps": 8}
    return Setting(
        stages=None,
        flow=FastFlow2D(kernel_sizes=kernel_sizes, **size),
        normalization="layer_norm",
        condition="none",
        score="probability",
        printed={"paper additional M": additional_m},
        printed_at={side: {"paper images/s": rate, "paper additional ms": additional_ms}},
    )


def _cflow(
    stages: tuple[int, ...] | None,
    encoder_mb: float,
    model_mb: float,
    rates: Mapping[int, tuple[float, float]],
) -> Setting:
    """Describe a row of CFLOW-AD's Table 6; rates: input side -> fps of the encoder, of all."""
    return Setting(
        stages=stages,
        flow=CFlowDecoder(steps=8),
        normalization="none",
        condition="position",
        score="cflow",
        printed={"paper encoder MB": encoder_mb, "paper model MB": model_mb},
        printed_at={
            side: {"paper encoder images/s": encoder, "paper images/s": model}
            for side, (encoder, model) in rates.items()
        },
    )


COMPLEXITY: dict[str, ComplexityTable] = {
    "fastflow-1": ComplexityTable(
        source="FastFlow, arXiv 2111.07677, Table 1 (the rows + FastFlow; kernels as in its 4.4)",
        notes=(
            "the paper measured on an NVIDIA GeForce GTX 1080 Ti with an Intel Xeon E5-2680 v4 and "
            "does not state its batch size",
        ),
        settings={
            "cait_m48_448": _fastflow((3, 1), 448, (3.08, 9, 14.8), transformer=True),
            "deit_base_distilled_patch16_384": _fastflow(
                (3, 1), 384, (30.14, 8, 14.8), transformer=True
            ),
            "resnet18": _fastflow((3,), 256, (30.8, 27, 4.9)),
            "wide_resnet50_2": _fastflow((3, 1), 256, (21.8, 34, 41.3)),
        },
    ),
    "cflow-6": ComplexityTable(
        source="CFLOW-AD, arXiv 2107.12571, Table 6 (its encoders and CFLOW-AD alone)",
        notes=(
            "the paper measured on an NVIDIA GeForce GTX 1080 (8 GB) and does not state its batch "
            "size; its sizes count all floating-point numbers, and its code keeps each rotation of "
            "channels and its inverse too, ours the rotation alone",
            "8 steps, three maps, the paper's score",
        ),
        settings={
            "resnet18": _cflow((2, 3, 4), 45, 96, {256: (80, 34), 512: (62, 12)}),
            "wide_resnet50_2": _cflow((2, 3, 4), 268, 947, {256: (62, 27), 512: (30, 9)}),
            "mobilenetv3_large_100": _cflow(None, 12, 25, {256: (82, 35), 512: (61, 12)}),
        },
    ),
}
