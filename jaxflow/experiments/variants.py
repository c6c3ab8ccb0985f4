"""Every family and flow on the embedded data, as a table that takes minutes."""

from jaxflow.experiments.papers.runs import PaperTable, Row
from jaxflow.experiments.plugins import PLUGINS

_FASTFLOW, _CFLOW, _UFLOW, _GLOW, _JET, _MSFLOW = (
    f"{name}_resnet18" for name in ("fastflow", "cflow", "uflow", "glow", "jet", "msflow")
)
# One map, standardized: then every likelihood is that of the same features.
_PROTOCOL = (
    "data.options.size=96",
    "data.image_size=(96,96)",
    "data.augmentation=none",
    "encoder.stages=(2,)",
    "encoder.random_if_unreachable=True",
    "model.normalization=standardize",
    "model.steps=2",
    "training.epochs=4",
    "training.batch_size=16",
    "training.warmup_epochs=2",
    "training.validate_every=2",
)
# Of the 2,304 vectors of a batch.
_GROUPS = ("training.vectors=576",)


def variants_table() -> PaperTable:
    """Return the table; the flows and detectors of the plugins that were run are rows of it."""
    rows = {
        "fastflow": _flow(_FASTFLOW),
        "fastflow additive": _flow(_FASTFLOW, "model.coupling=additive"),
        "fastflow gin": _flow(_FASTFLOW, "model.coupling=gin"),
        "fastflow spline": _flow(_FASTFLOW, "model.coupling=spline", "model.options.bins=4"),
        "fastflow usf": _flow(f"usf_{_FASTFLOW}"),
        "cflow": _flow(_CFLOW, *_GROUPS),
        "cflow usf": _flow(f"usf_{_CFLOW}", *_GROUPS),
        "uflow": _flow(_UFLOW, *_GROUPS),
        "uflow usf": _flow(f"usf_{_UFLOW}", *_GROUPS),
        "glow": _flow(_GLOW),
        "jet": _flow(_JET, "model.options.width=64"),
        "msflow": _flow(_MSFLOW, "model.options.parallel_steps=(2,)"),
        "autoregressive": _flow(_FASTFLOW, "model.flow=autoregressive"),
        "gaussian": _detector("gaussian", "evaluation.score=nll"),
        "mixture": _detector("mixture"),
        "kernel_density": _detector("kernel_density"),
        "memory_bank": _detector("memory_bank"),
        "one_class_svm": _detector("one_class_svm"),
        "spade": _detector("spade"),
    }
    for plugin in PLUGINS.values():
        rows |= {
            name: _flow(_FASTFLOW, f"model.flow={name}")
            for name in plugin.parts.get("model.flow", ())
        }
        rows |= {name: _detector(name) for name in plugin.parts.get("model.detector", ())}
    return PaperTable(
        "every family and flow on one map of drawn textures",
        "textures",
        ("woven",),
        rows,
        settings=_PROTOCOL,
        notes=(
            "the optimizer, the loss and the flow of each row are those of its config; epochs, "
            "batch, steps of the flow and features are the same for all, and few",
        ),
    )


def _flow(config: str, *settings: str) -> Row:
    return Row(config, (*settings, "evaluation.score=nll"))


def _detector(name: str, *settings: str) -> Row:
    return Row(_FASTFLOW, (f"model.detector={name}", *settings))
