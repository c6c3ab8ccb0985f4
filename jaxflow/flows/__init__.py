"""Normalizing flows as Flax modules, exact in both directions.

Every flow answers `forward_and_log_det` and `inverse_and_log_det`; `__call__` is forward. log_det
is returned per position, so that a 2D flow gives a likelihood map:

    z, log_det = flow.apply(variables, x, method="forward_and_log_det")
"""

from jaxflow.flows.affine import GlobalAffine
from jaxflow.flows.cflow import CFlowDecoder
from jaxflow.flows.chain import Chain
from jaxflow.flows.conditioner import ConvConditioner, DenseConditioner
from jaxflow.flows.convert import from_freia
from jaxflow.flows.coupling import COUPLINGS, LOG_SCALES, CouplingStep
from jaxflow.flows.distribution import FlowBijector, flow_distribution
from jaxflow.flows.fastflow import FastFlow2D
from jaxflow.flows.likelihood import position_log_prob
from jaxflow.flows.permutation import PERMUTATIONS, HardPermutation, SoftPermutation
from jaxflow.flows.position import position_encoding

__all__ = [
    "COUPLINGS",
    "LOG_SCALES",
    "PERMUTATIONS",
    "CFlowDecoder",
    "Chain",
    "ConvConditioner",
    "CouplingStep",
    "DenseConditioner",
    "FastFlow2D",
    "FlowBijector",
    "GlobalAffine",
    "HardPermutation",
    "SoftPermutation",
    "flow_distribution",
    "from_freia",
    "position_encoding",
    "position_log_prob",
]
