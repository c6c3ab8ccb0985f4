import doctest
import importlib
import inspect
import pkgutil

import pytest

import jaxflow.flows
import jaxflow.flows.distrax

MODULES = ["jaxflow.flows"] + [
    f"jaxflow.flows.{module.name}" for module in pkgutil.iter_modules(jaxflow.flows.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_hold(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_main_names_have_examples():
    finder = doctest.DocTestFinder(recurse=False)
    for name in ("Bijection", "CFlowDecoder", "Chain", "Coupling", "FastFlow2D", "PerMap"):
        assert finder.find(getattr(jaxflow.flows, name))[0].examples


PUBLIC = [getattr(jaxflow.flows, name) for name in jaxflow.flows.__all__]
PUBLIC = [value for value in PUBLIC if callable(value)]
PUBLIC += [jaxflow.flows.distrax.FlowBijector, jaxflow.flows.distrax.flow_distribution]


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__name__)
def test_every_public_name_is_documented(value):
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        fields = getattr(value, "__dataclass_fields__", {})  # The class docstring has these.
        for method, function in vars(value).items():
            if inspect.isfunction(function) and not (method.startswith("_") or method in fields):
                assert function.__doc__, f"{value.__name__}.{method}"


def test_all_lists_every_public_name():
    names = {
        name
        for name, value in vars(jaxflow.flows).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names == set(jaxflow.flows.__all__)
