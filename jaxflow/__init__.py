"""Visual anomaly detection and localization by exact likelihood, in JAX."""

__version__ = "0.1.0"
