"""Visual anomaly detection and localization by exact likelihood, in JAX."""

__version__ = "0.1.0"

# Our name in the package index, where "jaxflow" belongs to a different project.
DISTRIBUTION = "jaxflow-ad"
