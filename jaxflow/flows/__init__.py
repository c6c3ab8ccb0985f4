"""Normalizing flows as Flax modules, exact in both directions.

Everything here is a `Bijection`: it answers `forward_and_log_det` and `inverse_and_log_det`,
`log_prob` and `sample`; `__call__` is forward. log_det is returned per position, so that a 2D flow
gives a likelihood map:

    z, log_det = flow.apply(variables, x, method="forward_and_log_det")

`Chain` composes any of them, `PerMap` lifts one to the maps of an encoder. `jaxflow.flows.distrax`
has a flow as a distrax bijector and distribution; only that module imports distrax.
"""

from jaxflow.flows.affine import ActNorm, GlobalAffine, act_norm_params, start_from_data
from jaxflow.flows.attention import AttentionConditioner
from jaxflow.flows.autoregressive import AutoregressiveFlow, MaskedAutoregressive
from jaxflow.flows.base import DiagonalGaussian, StudentT, TrainedBase
from jaxflow.flows.bijection import Base, Bijection, Identity, Inverse
from jaxflow.flows.chain import Chain
from jaxflow.flows.checkerboard import CheckerboardCoupling
from jaxflow.flows.conditioner import ConvConditioner, DenseConditioner
from jaxflow.flows.conjugate import Conjugate
from jaxflow.flows.convert import from_freia
from jaxflow.flows.coupling import Coupling
from jaxflow.flows.coupling_flow import CFlowDecoder, CouplingFlow, FastFlow2D
from jaxflow.flows.cross_map import CrossMapConditioner, CrossMapCoupling
from jaxflow.flows.cs_flow import CrossScaleConditioner, CSFlow
from jaxflow.flows.differnet import DifferNet
from jaxflow.flows.fusion import FusionConditioner, NormalizedConvConditioner
from jaxflow.flows.glow import Glow2D
from jaxflow.flows.householder import Householder
from jaxflow.flows.jet import Jet
from jaxflow.flows.joined import Joined
from jaxflow.flows.likelihood import StandardNormal, position_log_prob
from jaxflow.flows.linear import PERMUTATIONS, InvertibleLinear, log_diagonal_prior
from jaxflow.flows.mixture import GaussianMixture, HierarchicalMixture
from jaxflow.flows.msflow import MSFlow, ParallelFlow2D
from jaxflow.flows.normalization import NORMALIZATIONS, AveragePool, LayerNorm, Standardize
from jaxflow.flows.per_map import PerMap
from jaxflow.flows.permutation import HardPermutation, SoftPermutation, SwapHalves
from jaxflow.flows.position import position_encoding
from jaxflow.flows.registry import FLOWS
from jaxflow.flows.reshape import Haar, Split, Squeeze
from jaxflow.flows.spline import RationalQuadraticSpline
from jaxflow.flows.transform import COUPLINGS, LOG_SCALES, Transform
from jaxflow.flows.u_shaped import UShapedFlow
from jaxflow.flows.whiten import Radial, Whiten

__all__ = [
    "COUPLINGS",
    "FLOWS",
    "LOG_SCALES",
    "NORMALIZATIONS",
    "PERMUTATIONS",
    "ActNorm",
    "AttentionConditioner",
    "AutoregressiveFlow",
    "AveragePool",
    "Base",
    "Bijection",
    "CFlowDecoder",
    "CSFlow",
    "Chain",
    "CheckerboardCoupling",
    "Conjugate",
    "ConvConditioner",
    "Coupling",
    "CouplingFlow",
    "CrossMapConditioner",
    "CrossMapCoupling",
    "CrossScaleConditioner",
    "DenseConditioner",
    "DiagonalGaussian",
    "DifferNet",
    "FastFlow2D",
    "FusionConditioner",
    "GaussianMixture",
    "GlobalAffine",
    "Glow2D",
    "Haar",
    "HardPermutation",
    "HierarchicalMixture",
    "Householder",
    "Identity",
    "Inverse",
    "InvertibleLinear",
    "Jet",
    "Joined",
    "LayerNorm",
    "MSFlow",
    "MaskedAutoregressive",
    "NormalizedConvConditioner",
    "ParallelFlow2D",
    "PerMap",
    "Radial",
    "RationalQuadraticSpline",
    "SoftPermutation",
    "Split",
    "Squeeze",
    "StandardNormal",
    "Standardize",
    "StudentT",
    "SwapHalves",
    "TrainedBase",
    "Transform",
    "UShapedFlow",
    "Whiten",
    "act_norm_params",
    "from_freia",
    "log_diagonal_prior",
    "position_encoding",
    "position_log_prob",
    "start_from_data",
]
