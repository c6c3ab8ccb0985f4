"""Configurations, the objects built from them, run folders, comparisons and papers' tables."""
