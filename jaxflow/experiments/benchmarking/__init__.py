"""Speed and size of detectors: timings of their parts, and the papers' complexity tables."""

from jaxflow.experiments.benchmarking.clock import Timing, measure
from jaxflow.experiments.benchmarking.complexity import (
    complexity_rows,
    split_columns,
    table_facts,
)
from jaxflow.experiments.benchmarking.configured import config_rows
from jaxflow.experiments.benchmarking.costs import scoring_costs
from jaxflow.experiments.benchmarking.machine import describe_machine, peak_memory
from jaxflow.experiments.benchmarking.operations import count_operations
from jaxflow.experiments.benchmarking.report import report
from jaxflow.experiments.benchmarking.workbench import Workbench
from jaxflow.experiments.papers.complexity import COMPLEXITY, ComplexityTable, Setting

__all__ = [
    "COMPLEXITY",
    "ComplexityTable",
    "Setting",
    "Timing",
    "Workbench",
    "complexity_rows",
    "config_rows",
    "count_operations",
    "describe_machine",
    "measure",
    "peak_memory",
    "report",
    "scoring_costs",
    "split_columns",
    "table_facts",
]
