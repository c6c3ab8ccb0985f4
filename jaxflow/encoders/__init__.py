"""Frozen image encoders as pure functions: `ENCODERS` names them, `load_encoder` builds one."""

from jaxflow.encoders.encoder import Encoder
from jaxflow.encoders.function import function_encoder
from jaxflow.encoders.neighbourhood import average_neighbourhood
from jaxflow.encoders.registry import ENCODERS, EncoderSpec, load_encoder, options_of
from jaxflow.encoders.weights import WeightsUnavailable

__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderSpec",
    "WeightsUnavailable",
    "average_neighbourhood",
    "function_encoder",
    "load_encoder",
    "options_of",
]
