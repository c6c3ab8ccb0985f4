"""The flows of feature maps, by name."""

from collections.abc import Callable

from jaxflow.flows.autoregressive import AutoregressiveFlow
from jaxflow.flows.bijection import Bijection
from jaxflow.flows.coupling_flow import CFlowDecoder, FastFlow2D
from jaxflow.flows.cs_flow import CSFlow
from jaxflow.flows.differnet import DifferNet
from jaxflow.flows.glow import Glow2D
from jaxflow.flows.jet import Jet
from jaxflow.flows.msflow import MSFlow
from jaxflow.flows.u_shaped import UShapedFlow

# Name -> a flow of one feature map, or a `joint` one of all; what can be chosen are its fields.
FLOWS: dict[str, Callable[..., Bijection]] = {
    "fastflow": FastFlow2D,
    "cflow": CFlowDecoder,
    "glow": Glow2D,
    "msflow": MSFlow,
    "cs_flow": CSFlow,
    "differnet": DifferNet,
    "u_shaped": UShapedFlow,
    "jet": Jet,
    "autoregressive": AutoregressiveFlow,
}
