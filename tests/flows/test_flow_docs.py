import doctest
import importlib
import inspect
import pkgutil

import pytest

import jaxflow.flows

MODULES = ["jaxflow.flows"] + [
    f"jaxflow.flows.{module.name}" for module in pkgutil.iter_modules(jaxflow.flows.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_hold(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_two_flows_have_examples():
    finder = doctest.DocTestFinder(recurse=False)
    for flow in (jaxflow.flows.FastFlow2D, jaxflow.flows.CFlowDecoder):
        assert finder.find(flow)[0].examples


@pytest.mark.parametrize("name", jaxflow.flows.__all__)
def test_every_public_name_is_documented(name):
    value = getattr(jaxflow.flows, name)
    if not callable(value):
        return
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        fields = getattr(value, "__dataclass_fields__", {})  # The class docstring has these.
        for method, function in vars(value).items():
            if inspect.isfunction(function) and not (method.startswith("_") or method in fields):
                assert function.__doc__, f"{name}.{method}"


def test_all_lists_every_public_name():
    names = {
        name
        for name, value in vars(jaxflow.flows).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names == set(jaxflow.flows.__all__)
