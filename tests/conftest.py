"""What tests of several folders share."""

import pytest


@pytest.fixture
def registries_kept():
    """Take back, after the test, what it adds to the registries."""
    from jaxflow.experiments.plugins import PLUGINS, registries

    kept = [PLUGINS, *registries().values()]
    before = [dict(registry) for registry in kept]
    yield
    for registry, entries in zip(kept, before, strict=True):
        registry.clear()
        registry.update(entries)
