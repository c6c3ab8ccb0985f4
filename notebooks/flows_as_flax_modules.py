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
# # A flow as a Flax module in a model of your own
#
# `jaxflow.flows` is a small library on its own: it imports JAX and Flax, and needs no data set,
# configuration, optimizer or encoder. This notebook
#
# 1. shows what a flow returns, and checks its likelihood against `jax.jacobian`,
# 2. puts a flow inside a Linen model and trains it with an optax loop, both written here,
# 3. reads the exact likelihood **at every position** as a map,
# 4. hands the trained flow to distrax: `log_prob`, `sample`, and the inverse,
# 5. builds a flow of two scales from parts, and runs it in Flax NNX.
#
# Run on a CPU it takes about two minutes; a GPU or a TPU works as it is.

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
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

from jaxflow.flows import (
    Chain,
    ConvConditioner,
    Coupling,
    FastFlow2D,
    GlobalAffine,
    Identity,
    PerMap,
    SoftPermutation,
    Split,
    Squeeze,
)
from jaxflow.flows.distrax import FlowBijector, flow_distribution

SMALL = os.environ.get("JAXFLOW_NOTEBOOK_SMALL") == "1"  # a run in seconds, to test the notebook
STEPS = 30 if SMALL else 1500
print(jax.devices())

# %% [markdown]
# ## What a flow returns
#
# Every flow maps `x` to latents `z` of the same shape, and says by how much it stretched volume:
# `log_det`, one number **per position**. Its sum over the map is the log-determinant of the whole
# map's Jacobian.

# %%
flow = FastFlow2D(steps=2, kernel_sizes=(3, 1))
x = jax.random.normal(jax.random.key(0), (2, 5, 7, 6))  # images, rows, columns, channels
variables = jax.jit(flow.init)(jax.random.key(1), x)

forward = jax.jit(functools.partial(flow.apply, method="forward_and_log_det"))
inverse = jax.jit(functools.partial(flow.apply, method="inverse_and_log_det"))

z, log_det = forward(variables, x)
print(f"x {x.shape} -> z {z.shape}, log_det {log_det.shape}")

# %% [markdown]
# What is trained lies in `params`. The fixed permutations lie in `constants`, so that no
# optimizer ever sees them and a checkpoint of both is complete.

# %%
print(jax.tree.map(jnp.shape, variables["params"]["chain"]["links_0"]))
print(jax.tree.map(jnp.shape, variables["constants"]["chain"]["links_0"]))

# %% [markdown]
# A fresh flow only permutes channels: its last convolutions start at zero. For the checks below
# we move every parameter a little, so that there is something to check.

# %%
rng = np.random.default_rng(0)
moved = jax.tree.map(
    lambda value: value + 0.3 * rng.standard_normal(value.shape, np.float32), variables["params"]
)
variables = {**variables, "params": moved}

z, log_det = forward(variables, x)
back, log_det_back = inverse(variables, z)
print(f"inverse: largest error {jnp.abs(back - x).max():.1e}")
print(f"the two log_dets cancel to {jnp.abs(log_det + log_det_back).max():.1e}")

# %% [markdown]
# ## Is it exact?
#
# On a map this small the full Jacobian, all positions and channels at once, fits in memory: here
# it is 210 x 210. Its log-determinant must be the sum of `log_det`.

# %%
one = x[:1]


def flat_flow(vector):
    """Return the latents of one image, everything as a vector."""
    return flow.apply(variables, vector.reshape(one.shape)).reshape(-1)


jacobian = jax.jit(jax.jacobian(flat_flow))(one.reshape(-1))
brute_force = np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
print(f"Jacobian {jacobian.shape}: log |det| = {brute_force:.5f}")
print(f"sum of log_det per position    = {log_det[0].sum():.5f}")
assert abs(brute_force - log_det[0].sum()) < 1e-3

# %% [markdown]
# ## Toy data: ripples
#
# Images of 16 x 16 pixels: waves of one direction and length, in random phase, with a little
# noise. All of them are normal; no two are alike.

# %%
SIDE, PATCH = 16, 4


@functools.partial(jax.jit, static_argnums=1)
def ripples(key, count, angle=0.5, noise=0.15):
    """Draw f32[count, 16, 16, 1]: waves of one direction in random phase."""
    phase_key, noise_key = jax.random.split(key)
    rows, columns = jnp.mgrid[:SIDE, :SIDE]
    along = columns * jnp.cos(angle) + rows * jnp.sin(angle)
    phase = jax.random.uniform(phase_key, (count, 1, 1), maxval=2 * jnp.pi)
    waves = jnp.sin(2 * jnp.pi * along / 6 + phase)
    return (waves + noise * jax.random.normal(noise_key, waves.shape))[..., None]


def show(images, title, **options):
    """Show a row of maps on one color scale."""
    figure, row = plt.subplots(1, len(images), figsize=(1.5 * len(images), 1.9), squeeze=False)
    for axes, image in zip(row[0], images, strict=True):
        axes.imshow(np.squeeze(image), **options)
        axes.axis("off")
    figure.suptitle(title, fontsize=10, color="#6a737d")
    plt.show()


WAVES = {"cmap": "cividis", "vmin": -1.6, "vmax": 1.6}
show(ripples(jax.random.key(3), 8), "training images", **WAVES)

# %% [markdown]
# ## A model of your own
#
# A plain Linen module that holds a flow like any other layer. It cuts the image into patches of
# 4 x 4 pixels, which become the 16 channels of a 4 x 4 map: this only reorders pixels, so the
# likelihood stays that of the image. The convolutions of the flow let neighboring patches inform
# each other.


# %%
class RippleDensity(nn.Module):
    """The exact log-likelihood of an image, patch by patch."""

    steps: int = 8

    def setup(self):
        """Make the flow."""
        self.flow = FastFlow2D(steps=self.steps, kernel_sizes=(3,), hidden_ratio=8.0)

    def __call__(self, images):
        """Map f32[b, 16, 16, 1] to log p f32[b, 4, 4], nats a patch."""
        return self.flow.log_prob(to_patches(images))


def to_patches(images):
    """Reorder f32[b, 16, 16, 1] into f32[b, 4, 4, 16]."""
    cells = images.reshape(-1, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH)
    return cells.swapaxes(2, 3).reshape(-1, SIDE // PATCH, SIDE // PATCH, PATCH * PATCH)


def to_images(patches):
    """Invert `to_patches`."""
    cells = patches.reshape(-1, SIDE // PATCH, SIDE // PATCH, PATCH, PATCH)
    return cells.swapaxes(2, 3).reshape(-1, SIDE, SIDE, 1)


model = RippleDensity(steps=2 if SMALL else 8)
variables = jax.jit(model.init)(jax.random.key(4), ripples(jax.random.key(5), 8))
params, constants = variables["params"], variables["constants"]
print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} trained parameters")

# %% [markdown]
# The loop is plain optax. The loss is the negative log-likelihood in nats per pixel, exact, with
# nothing to balance. Only `params` is differentiated; `constants` is passed along.

# %%
optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))
)


def loss(params, images):
    """Return the mean negative log-likelihood, nats per pixel."""
    log_prob = model.apply({"params": params, "constants": constants}, images)
    return -log_prob.sum((1, 2)).mean() / SIDE**2


@jax.jit
def update(params, state, key):
    """Take one step on 64 fresh images."""
    value, gradient = jax.value_and_grad(loss)(params, ripples(key, 64))
    change, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, change), state, value


state, losses = optimizer.init(params), []
for key in jax.random.split(jax.random.key(6), STEPS):
    params, state, value = update(params, state, key)
    losses.append(value)
losses = np.asarray(losses)

# %% [markdown]
# How good can it get? Noise of deviation 0.15 alone costs log(0.15 sqrt(2 pi e)) = -0.48 nats per
# pixel, and no density can do better than the data's own entropy, which lies a little above that
# (the phase must be guessed, too).

# %%
NOISE_ENTROPY = float(np.log(0.15 * np.sqrt(2 * np.pi * np.e)))
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(losses, color="#00609c", linewidth=1)
axes.axhline(NOISE_ENTROPY, color="#c04a00", linestyle="--", linewidth=1, label="noise alone")
axes.set(xlabel="step", ylabel="nats per pixel", title="negative log-likelihood")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()
print(f"{losses[0]:.3f} -> {losses[-10:].mean():.3f} nats per pixel")

# %% [markdown]
# ## Likelihood as a map
#
# Now images with a mistake: in one quarter the waves run in another direction. The pixels there
# are as bright as everywhere else; only their pattern is unlikely. The model has seen no such
# image, and has no notion of *anomaly*: it only knows what is likely, and where.

# %%
log_prob = jax.jit(functools.partial(model.apply, {"params": params, "constants": constants}))

mixed = np.array(ripples(jax.random.key(7), 8))
mixed[4:, :8, 8:] = ripples(jax.random.key(8), 8, angle=-0.9)[4:, :8, 8:]
nll_map = -np.asarray(log_prob(mixed)) / PATCH**2

show(mixed, "four normal images, and four with a turned quarter (upper right)", **WAVES)
show(
    nll_map,
    "negative log-likelihood of each patch, nats per pixel: dark is likely",
    cmap="inferno",
    vmin=nll_map.min(),
    vmax=np.quantile(nll_map, 0.98),
)
print(f"normal images: {nll_map[:4].mean():.2f}, turned quarters: {nll_map[4:, :2, 2:].mean():.2f}")

# %% [markdown]
# ## The flow as a distrax distribution
#
# The flow inside the model has its variables under its own name. With them, `flow_distribution`
# makes a `distrax.Distribution`: `log_prob` is exact and `sample` draws from a standard normal
# and inverts the flow.

# %%
flow = FastFlow2D(steps=model.steps, kernel_sizes=(3,), hidden_ratio=8.0)
flow_variables = {"params": params["flow"], "constants": constants["flow"]}
distribution = flow_distribution(flow, flow_variables, event_shape=(4, 4, 16))


@jax.jit
def draw(key):
    """Draw 256 maps f32[256, 4, 4, 16]."""
    return distribution.sample(seed=key, sample_shape=(256,))


samples = draw(jax.random.key(9))
show(to_images(samples[:8]), "samples of the flow", **WAVES)

# %% [markdown]
# The distribution and the model agree on every image. Samples come out somewhat less likely than
# new data: a flow that is not perfect puts some of its probability where no data are.

# %%
exact_log_prob = jax.jit(distribution.log_prob)

new_images = ripples(jax.random.key(10), 256)
by_distrax = exact_log_prob(to_patches(new_images))
assert np.allclose(by_distrax, log_prob(new_images).sum((1, 2)), rtol=1e-4, atol=1e-2)

print(f"log p of new data:    {by_distrax.mean():.1f} nats an image")
print(f"log p of the samples: {exact_log_prob(samples).mean():.1f} nats an image")

# %% [markdown]
# ## The inverse
#
# `FlowBijector` is the map alone, as a `distrax.Bijector`. Because it has an exact inverse one
# can walk through latent space: here from one image to another, along an arc that keeps the
# latents at the length that a standard normal gives them.

# %%
bijector = FlowBijector(flow, flow_variables)
start, end = jax.jit(bijector.forward)(to_patches(new_images[:2]))

angles = jnp.linspace(0, jnp.pi / 2, 8)[:, None, None, None]
walk = jax.jit(bijector.inverse)(jnp.cos(angles) * start + jnp.sin(angles) * end)
show(to_images(walk), "from one image (left) to another (right), through latent space", **WAVES)

error = jnp.abs(walk[0] - to_patches(new_images[:1])[0]).max()
print(f"the walk starts at the first image again, to {error:.1e}")
assert error < 1e-3

# %% [markdown]
# ## A flow from parts, in Flax NNX
#
# Whatever is invertible here answers the same methods, so `Chain` composes any of it. This flow has
# two scales: `Squeeze` makes 2 x 2 positions one, `Split` sends half of the channels out, and
# `PerMap` gives the other half more steps. The latents are then a tuple, and so is `log_prob`; the
# sum over both is the exact log-likelihood of the image.
#
# `nnx.bridge.ToNNX` makes an NNX module of any flow.


# %%
def coupling_step():
    """Return FrEIA's all-in-one step."""
    return Chain([Coupling(ConvConditioner()), GlobalAffine(), SoftPermutation()])


coarser = Chain([Squeeze(), coupling_step()])
two_scales = Chain([Squeeze(), coupling_step(), Split(), PerMap([Identity(), coarser])])
images = ripples(jax.random.key(11), 4)
nnx_flow = nnx.bridge.ToNNX(two_scales, rngs=nnx.Rngs(12)).lazy_init(images)

fine, coarse = nnx_flow(images, method="log_prob")
print(f"log p at two scales: {fine.shape} and {coarse.shape}")
print(f"together: {fine.sum((1, 2)) + coarse.sum((1, 2))} nats an image")
round_trip = nnx_flow(nnx_flow(images), method="inverse")
assert jnp.abs(round_trip - images).max() < 1e-4

# %% [markdown]
# ## Where to go on
#
# - Feature maps instead of pixels: `FastFlow2D` takes any map `[b, h, w, c]` with c at least 2.
# - Feature vectors with a condition, such as their position: `CFlowDecoder` with
#   `position_encoding` (CFLOW-AD, arXiv 2107.12571).
# - `coupling="additive"` gives a flow that scales uniformly, `permutation="soft"` rotates channels.
# - Your own bijection: a subclass of `Bijection` with `forward_and_log_det` and
#   `inverse_and_log_det` is a link of every `Chain`.
