"""The families of detectors, by name."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxflow.detectors.contract import Detector
from jaxflow.detectors.flow import FlowDetector, flow_detector
from jaxflow.detectors.gaussian import Gaussian
from jaxflow.detectors.kernel_density import KernelDensity
from jaxflow.detectors.memory_bank import MemoryBank
from jaxflow.detectors.mixture import Mixture
from jaxflow.detectors.one_class_svm import OneClassSvm
from jaxflow.detectors.spade import Spade


class Family(NamedTuple):
    """A family of detectors.

    Attributes:
      build: makes one from `encoder`, `scores` and its options, which are its other parameters; its
        `scores` have a default.
      meanings: the scores that it can give, the usual one first, and what each means.
      trained: whether it is trained by gradient, or only looks at the normal feature maps.
    """

    build: Callable[..., Detector]
    meanings: Mapping[str, str]
    trained: bool = False


DETECTORS: dict[str, Family] = {
    "flow": Family(flow_detector, FlowDetector.meanings, trained=True),
    "gaussian": Family(Gaussian, Gaussian.meanings),
    "memory_bank": Family(MemoryBank, MemoryBank.meanings),
    "mixture": Family(Mixture, Mixture.meanings),
    "kernel_density": Family(KernelDensity, KernelDensity.meanings),
    "one_class_svm": Family(OneClassSvm, OneClassSvm.meanings),
    "spade": Family(Spade, Spade.meanings),
}
