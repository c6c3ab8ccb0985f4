"""Speed and size of detectors: timings of their parts, and the papers' complexity tables."""

from jaxflow.benchmarking.clock import Timing, measure
from jaxflow.benchmarking.complexity import complexity_rows, split_columns
from jaxflow.benchmarking.machine import describe_machine, peak_memory
from jaxflow.benchmarking.published import TABLES, ComplexityTable, Setting
from jaxflow.benchmarking.workbench import Workbench

__all__ = [
    "TABLES",
    "ComplexityTable",
    "Setting",
    "Timing",
    "Workbench",
    "complexity_rows",
    "describe_machine",
    "measure",
    "peak_memory",
    "split_columns",
]
