# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exact likelihood: five densities on the same features
#
# A frozen encoder gives every image a map of feature vectors. Each density here learns what normal
# vectors look like, and gives every position of a new image an **exact** log-likelihood. Because
# all see the same features, their likelihoods compare in one unit, nats per dimension. This
# notebook
#
# 1. shows in one dimension what a flow does, and why both terms of its likelihood count,
# 2. fits five densities under one protocol (`jaxflow.fit`, `model.evaluate`),
# 3. asks whether a better likelihood detects better,
# 4. splits the likelihood into its latent and its volume term, and asks which of them detects.
#
# It takes about five minutes of processor time.

# %%
import importlib.util
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# What to install: the URL of the repository ("git+https://...") or a folder that holds a copy.
# "": the copy that this notebook lies in. What is installed already stays, unless SOURCE is set.
SOURCE = ""

NAME = "jaxflow-ad"  # in the package index, the name "jaxflow" belongs to a different project


def find_requirement():
    """Return what to give to pip: our name, the extras, and the URL to install from."""
    if "://" in SOURCE:
        return f"{NAME}[{find_extras()}] @ {SOURCE}"
    here = Path.cwd()
    folders = [Path(SOURCE).expanduser().resolve()] if SOURCE else [here, *here.parents]
    for folder in folders:
        project = folder / "pyproject.toml"
        if project.is_file() and f'name = "{NAME}"'.encode() in project.read_bytes():
            return f"{NAME}[{find_extras()}] @ {folder.as_uri()}"
    raise SystemExit(
        f"Found no copy of {NAME} {'in' if SOURCE else 'around'} {folders[0]}: set SOURCE to the "
        "URL of its repository, or to a folder that holds its pyproject.toml."
    )


def find_extras():
    """Return `all` and the extra for the accelerator of a Colab machine; its GPUs have CUDA 12."""
    if "google.colab" not in sys.modules:
        return "all"
    if importlib.util.find_spec("libtpu"):
        return "all,tpu"
    return "all,cuda12" if shutil.which("nvidia-smi") else "all"


def install(requirement):
    """Install with pip for the Python of this kernel."""
    print(f"Installing {requirement}; this takes a minute or two.")
    command = [sys.executable, "-m", "pip", "install", "--quiet", requirement]
    pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode != 0:
        lines = pip.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]
        reason = (errors or lines or ["no reason given"])[-1]
        raise SystemExit(f"pip could not install {requirement}: {reason}")
    importlib.invalidate_caches()


def imported_versions():
    """Return the version of each distribution that this kernel has imported a module of."""
    owners = metadata.packages_distributions()
    names = {name for module in list(sys.modules) for name in owners.get(module, ())}
    return {name: metadata.version(name) for name in names}


def find_stranger():
    """Return where `import jaxflow` finds another project's module; "" if it finds ours."""
    try:
        import jaxflow
    except Exception as error:  # another project's module may raise anything
        return f"a module that fails ({type(error).__name__})"
    return "" if getattr(jaxflow, "DISTRIBUTION", "") == NAME else str(jaxflow.__file__)


# Kept when the cell runs a second time: an import is not undone by running a cell again.
at_start = globals().get("at_start") or imported_versions()
# pip names itself in what it installs; a folder that only was built from has no such file.
installed = any(d.read_text("INSTALLER") for d in metadata.distributions(name=NAME))
if SOURCE or not installed:
    install(find_requirement())

now = imported_versions()
changed = [
    f"{k} {at_start[k]} to {now[k]}" for k in at_start if now.get(k, at_start[k]) != at_start[k]
]
if changed:
    raise SystemExit(
        "Restart the kernel (on Colab: Runtime > Restart session), then run this cell again. "
        f"These were imported before their version changed: {', '.join(sorted(changed))}."
    )
if stranger := find_stranger():
    raise SystemExit(
        f"`import jaxflow` finds {stranger}, which is not {NAME} but a different project's: remove "
        f"it (`pip uninstall jaxflow {NAME}`), restart the kernel and run this cell again."
    )
print(f"{NAME} {metadata.version(NAME)} in {sys.modules['jaxflow'].__path__[0]}")

# %%
import functools
import logging
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Markdown, display

import jaxflow
from jaxflow.detectors import FlowDetector, FlowPyramid, Gaussian
from jaxflow.encoders import WeightsUnavailable, load_encoder
from jaxflow.flows import (
    ActNorm,
    Bijection,
    CFlowDecoder,
    Chain,
    FastFlow2D,
    RationalQuadraticSpline,
)
from jaxflow.reports.tables import format_table
from jaxflow.training import encoded
from jaxflow.training.optimizers import adam_l2

SMALL = os.environ.get("JAXFLOW_NOTEBOOK_SMALL") == "1"  # a run in seconds, to test the notebook
WEIGHTS = "hub"  # pretrained weights: "hub", or the path of a .safetensors file
logging.getLogger("absl").setLevel(logging.ERROR)  # it names every folder of checkpoints
BLUE, ORANGE, GREEN, INK = "#0072b2", "#d55e00", "#009e73", "#1b1f24"

# %% [markdown]
# ## One dimension
#
# A toy after Figure 1 of CFLOW-AD (arXiv 2107.12571). Normal values come in two groups. Anomalies
# lie **outside** of both, or in the **gap** between them.
#
# A flow of one dimension is an increasing function: it bends the number line until the normal
# values are standard normal. Here it is a spline, written as a `Bijection` with two methods.


# %%
class ScalarSpline(Bijection):
    """An increasing spline of every channel by itself."""

    spline: RationalQuadraticSpline = RationalQuadraticSpline(bins=16)

    @nn.compact
    def _numbers(self, x):
        shape = (x.shape[-1] * self.spline.outputs,)
        numbers = self.param("numbers", nn.initializers.zeros, shape)
        return jnp.broadcast_to(numbers, (*x.shape[:-1], *shape))

    def forward_and_log_det(self, x, condition=None):
        """Map x f[..., c] to z f[..., c] and log_det f[...], nats."""
        return self.spline.forward(x, self._numbers(x))

    def inverse_and_log_det(self, z, condition=None):
        """Map z f[..., c] to x f[..., c] and the inverse's log_det f[...], nats."""
        return self.spline.inverse(z, self._numbers(z))


rng = np.random.default_rng(0)
normal = np.where(
    rng.random(2000) < 0.65, rng.normal(-1.8, 0.35, 2000), rng.normal(1.8, 0.45, 2000)
)
normal = normal[:, None].astype(np.float32)
anomalies = {
    "outside": np.float32([[-4.2], [-4.0], [4.3], [4.5]]),
    "in the gap": np.float32([[-0.1], [0.0], [0.05], [0.1]]),
}


def fit_by_likelihood(flow, x, steps, rate=0.05):
    """Return the variables of most likelihood."""
    variables = jax.jit(flow.init)(jax.random.key(0), x)
    rest = {name: value for name, value in variables.items() if name != "params"}
    optimizer = optax.adam(rate)

    def loss(params):
        return -flow.apply({**rest, "params": params}, x, method="log_prob").mean()

    @jax.jit
    def step(carry, _):
        params, state = carry
        change, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    start = (variables["params"], optimizer.init(variables["params"]))
    (params, _), _ = jax.lax.scan(step, start, length=steps)
    return {**rest, "params": params}


toys = {"Gaussian (a linear flow)": ActNorm(), "flow": Chain([ActNorm(), ScalarSpline()])}
fitted = {name: fit_by_likelihood(flow, normal, 400) for name, flow in toys.items()}

# %% [markdown]
# Each threshold below keeps 95 % of the normal values, so the two rules raise equally many false
# alarms: one by the exact likelihood, one by the latent's distance from 0 (the distance that the
# papers' figures speak of).

# %%


def measure(flow, variables, x):
    """Return the latents f[n, 1] and log p f[n] of values f[n, 1]."""
    z, _ = flow.apply(variables, x, method="forward_and_log_det")
    return z, flow.apply(variables, x, method="log_prob")


grid = np.linspace(-5, 5, 801, dtype=np.float32)[:, None]
everything = jnp.concatenate([normal, grid, *anomalies.values()])
parts = np.cumsum([len(normal), len(grid), *map(len, anomalies.values())])[:-1]
figure, rows = plt.subplots(2, 2, figsize=(9.5, 5), layout="constrained")
table = []
for (name, flow), row in zip(toys.items(), rows, strict=True):
    run = jax.jit(functools.partial(measure, flow))
    measured = [np.asarray(each) for each in run(fitted[name], everything)]
    (z, _, *latents), (likely, density, *likelihoods) = (np.split(m, parts) for m in measured)
    row[0].hist(normal[:, 0], 80, density=True, histtype="stepfilled", color=BLUE, alpha=0.35)
    row[0].plot(grid[:, 0], np.exp(density), color=INK, linewidth=1.3)
    row[0].set_title(f"{name}: p(x)", fontsize=9)
    row[1].hist(z[:, 0], 80, density=True, histtype="stepfilled", color=BLUE, alpha=0.35)
    row[1].plot(grid[:, 0], np.exp(-(grid[:, 0] ** 2) / 2) / np.sqrt(2 * np.pi), color=INK)
    row[1].set_title(f"{name}: latents, and the standard normal", fontsize=9)
    farthest, least = np.quantile(np.abs(z), 0.95), np.quantile(likely, 0.05)
    for side in (-1, 1):
        row[1].axvline(side * farthest, color="#6a737d", linestyle="--", linewidth=1)
    for i, (kind, x) in enumerate(anomalies.items()):
        style = {"s": 28, "color": (ORANGE, GREEN)[i], "marker": "^s"[i], "zorder": 3}
        for axes, points in zip(row, (x, latents[i]), strict=True):
            axes.scatter(points[:, 0], np.full(len(x), 0.02), label=kind, **style)
        by_likelihood, by_latent = likelihoods[i] < least, np.abs(latents[i]) > farthest
        line = {"model": name, "anomalies": kind}
        line["found by log p"] = f"{by_likelihood.sum()} of {len(x)}"
        line["found by |z|"] = f"{by_latent.sum()} of {len(x)}"
        table.append(line)
rows[0][0].legend(fontsize=8, frameon=False)
for axes in rows.flat:
    axes.set_xlim(-5, 5)
    axes.tick_params(labelsize=8)
plt.show()
display(Markdown(format_table(table, markdown=True)))

# %% [markdown]
# The Gaussian takes the gap for the likeliest place. The flow knows better: its density is low
# there. But it must map the gap somewhere, and an increasing function maps it **between** the two
# groups, near `z = 0`. By the latent alone, these values are perfectly normal. The other term, the
# change of volume, shows that they are not: to leave no gap among the latents, the flow squeezes
# the gap to almost nothing.
#
# ## Five densities, one protocol
#
# Drawn textures, one stage of a ResNet-18. `standardize` is a bijection, so every likelihood below
# is that of the encoder's own features. A tenth of the normal images is held out: it chooses the
# epoch and gives the validation likelihood. Test images choose nothing.

# %%
SIZE = (32, 32) if SMALL else (96, 96)
counts = (16, 6, 8) if SMALL else (160, 32, 64)
options = dict(zip(("n_train", "n_test_normal", "n_test_anomalous"), counts, strict=True))
dataset = jaxflow.load_dataset(
    "textures", category="woven", size=SIZE[0], cache_dir="exact_likelihood_cache", **options
)
try:
    encoder = load_encoder("resnet18", stages=(2,), weights="random" if SMALL else WEIGHTS)
except WeightsUnavailable as error:
    print(f"{error}: RANDOM WEIGHTS instead; the figures say nothing about the methods")
    encoder = load_encoder("resnet18", stages=(2,), weights="random")

STEPS = 1 if SMALL else 4
TERMS = ("nll", "latent", "volume")


def over_features(flow, condition="none"):
    """Put a flow over the features."""
    pyramid = FlowPyramid(flow, maps=1, normalization="standardize", condition=condition)
    return FlowDetector(encoder, pyramid, scores=TERMS)


fast = {"steps": STEPS, "kernel_sizes": (1,) if SMALL else (3, 1)}
detectors = {
    "Gaussian": Gaussian(encoder, ("nll",), exponent=0.0, shrinkage="oas", smoothing=0.0),
    "FastFlow, affine": over_features(FastFlow2D(**fast)),
    "FastFlow, additive": over_features(FastFlow2D(**fast, coupling="additive")),
    "FastFlow, spline": over_features(FastFlow2D(**fast, coupling="spline")),
    "CFLOW": over_features(CFlowDecoder(steps=STEPS), condition="position"),
}
recipe = {"size": SIZE, "epochs": 1 if SMALL else 8, "batch_size": 12}
recipe["optimizer"] = adam_l2(3e-4, 1e-5)
models = {}
for name, detector in detectors.items():
    models[name] = jaxflow.fit(detector, dataset, say=lambda line: None, **recipe)

# %% [markdown]
# The validation likelihood, computed from the positions' exact `log p`; and the AUROCs.


# %%
def validation_nats(model):
    """Return -log p of the held-out images' features, nats per dimension."""
    detector, variables = model.detector, model.selections[model.usual].variables
    maps, valid = next(encoded(encoder, dataset.validation, SIZE))
    if isinstance(detector, FlowDetector):
        log_prob = detector.latents(variables, maps)[0].log_prob()
    else:
        log_prob = detector.log_prob(variables, maps)
    return float(-log_prob[valid].mean() / encoder.channels[0])


table, figures = [], {}
for name, model in models.items():
    found = model.evaluate(dataset)
    figures[name] = {score: found[model.usual, score] for score in model.detector.scores}
    metrics = figures[name]["nll"].evaluation.metrics
    parameters = model.selections[model.usual].variables["params"]
    table.append(
        {
            "density": name,
            "trained parameters": sum(leaf.size for leaf in jax.tree.leaves(parameters)),
            "validation nats/dim": validation_nats(model),
            "image AUROC": metrics["image_auroc"],
            "pixel AUROC": metrics["pixel_auroc"],
        }
    )
display(Markdown(format_table(table, markdown=True)))

# %% [markdown]
# ## Does a better likelihood detect better?
#
# Lower nats are better, so the best density is on the left.

# %%
figure, row = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", sharex=True)
for axes, metric in zip(row, ("image AUROC", "pixel AUROC"), strict=True):
    for line, color in zip(table, (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00"), strict=True):
        place = line["validation nats/dim"], line[metric]
        axes.scatter(*place, 50, color, zorder=3, label=line["density"])
    axes.set_xlabel("validation nats per dimension", fontsize=9)
    axes.set_ylabel(metric, fontsize=9)
    axes.grid(color="#eceff1")
    axes.tick_params(labelsize=8)
handles, labels = row[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# Not by itself. With pretrained weights the spline has by far the best likelihood, and the
# Gaussian, next to the worst, detects best. The likelihood is an average over all channels and all
# positions of **normal** images; detection asks how it falls where an image is not normal. A
# density can gain nats by describing fine detail of normal features that no defect changes.
#
# ## Which term of the likelihood detects?
#
# `nll = latent + volume`, at every position: half the mean square of the latents (and a constant),
# and minus the log-determinant. Each term is a score of the same latents.

# %%
flows = [name for name in models if "volume" in figures[name]]
table = [
    {"density": name}
    | {f"{term}: {kind}": figures[name][term].evaluation.metrics[f"{kind}_auroc"]
       for kind in ("image", "pixel") for term in TERMS}
    for name in flows
]  # fmt: skip
display(Markdown(format_table(table, markdown=True)))

# %% [markdown]
# And pixel by pixel: every test image gives one pixel of every 4 x 4. The dashed lines join pixels
# of equal `nll`, the sum. The largest latent terms lie above the picture.

# %%
from jaxflow.data.pipeline import read_masks

masks = read_masks(dataset.test, SIZE)[:, 2::4, 2::4]
figure, row = plt.subplots(1, len(flows), figsize=(12, 3.4), layout="constrained")
for axes, name in zip(row, flows, strict=True):
    latent, volume = (figures[name][term].scored.anomaly_map[:, 2::4, 2::4] for term in TERMS[1:])
    for kind, color, label in ((False, BLUE, "normal"), (True, ORANGE, "anomalous")):
        chosen = np.flatnonzero(masks.ravel() == kind)
        chosen = np.random.default_rng(0).permutation(chosen)[:1000]
        x, y = volume.ravel()[chosen], latent.ravel()[chosen]
        axes.scatter(x, y, 5, color, alpha=0.4, linewidths=0, label=label)
    low, high = axes.get_xlim(), (latent.min() - 0.2, np.quantile(latent[masks], 0.97))
    for total in np.linspace(low[0] + high[0], low[1] + high[1], 7)[1:-1]:
        axes.axline((low[0], total - low[0]), slope=-1, color="#b0b6bc", linestyle="--", lw=0.8)
    axes.set(xlim=low, ylim=high)
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("volume term, nats/dim", fontsize=8)
    axes.tick_params(labelsize=8)
row[0].set_ylabel("latent term, nats/dim", fontsize=8)
row[0].legend(fontsize=8, frameon=False, markerscale=2)
plt.show()

# %% [markdown]
# What to read from it:
#
# - An **additive** coupling changes volume everywhere alike: its volume term is one number (its
#   AUROC is that of rounding errors). All that it knows is in the latents.
# - An **affine** or **spline** coupling may shrink what it has not seen as well as move it. Its
#   two terms then know different things, as in the toy, and their exact sum is the likelihood. The
#   published score `probability` reads the latent term only.
# - Here the latent term finds defective pixels better than the exact sum does: a place that the
#   flow has shrunk less is often only a rarer normal place.
# - Which term detects better is a fact about features and data, not about flows in general:
#   measure it. `--config.evaluation.scores=latent,volume` reports both for any run.
#
# These are small runs on drawn textures: the order of the five can change with another seed,
# budget or encoder. `python -m jaxflow.compare` runs the same question over seeds and data sets.
