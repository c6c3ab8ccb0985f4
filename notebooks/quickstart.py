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
# # From your own images to heat maps
#
# A detector learns only from **normal images** what is likely, and then marks what is not. A
# frozen, pretrained network describes every place of an image; a normalizing flow (FastFlow,
# arXiv 2111.07677) learns the distribution of these descriptions; where a new image is unlikely
# under it, the heat map is hot.
#
# Run the cells from top to bottom. As it stands, the notebook draws its own textures, so it
# needs no data; one variable points it at a folder of yours.
#
# ## Install
#
# Works on a Colab machine with a CPU, a GPU or a TPU (*Runtime > Change runtime type*), and on
# your own. On Colab the first cell installs the package, and JAX for the accelerator it finds.

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
import os
import warnings

import jax
import matplotlib.pyplot as plt
from IPython.display import Image, Markdown, display

# Progress is drawn as text, so the widgets that this asks for are not missed.
warnings.filterwarnings("ignore", message="IProgress not found")

for device in jax.devices():
    print(f"{device.platform}: {device.device_kind}")
if jax.default_backend() == "cpu":
    print("No accelerator: a few minutes with the textures; small images and few epochs help.")

# %% [markdown]
# ## Your images
#
# Set `IMAGES` to a folder. Two layouts work:
#
# - **only normal images**, directly in the folder. The detector trains, and scores whatever you
#   give it; there is nothing to measure it with.
# - **with a test set**: `train/good/`, `test/good/`, `test/<kind of defect>/`, and, if you have
#   them, masks in `ground_truth/<kind of defect>/`. Then the notebook also gives AUROC and AUPRO.
#
# Set `NEW_IMAGES` to a folder of images to judge in the end. On Colab, upload with the file
# browser on the left, or mount your drive.

# %%
IMAGES = ""  # a folder; "": drawn textures
NEW_IMAGES = ""  # a folder; "": a few drawn ones, some with a defect
WEIGHTS = "hub"  # pretrained weights: "hub", or the path of a .safetensors file
WORKDIR = Path("quickstart_run")  # another folder for another setting

SMALL = os.environ.get("JAXFLOW_NOTEBOOK_SMALL") == "1"  # a run in seconds, to test the notebook

# %%
from jaxflow.experiments.config import default_config, describe_keys

config = default_config()
config.data.cache_dir = str(WORKDIR / "prepared")
config.data.image_size = (64, 64) if SMALL else (128, 128)
config.data.validation_fraction = 0.2  # of the normal images: held out, to set the thresholds
config.encoder.name = "resnet18"
config.encoder.weights = WEIGHTS
config.encoder.random_if_unreachable = True
config.model.kernel_sizes = (3,)
config.training.epochs = 2 if SMALL else 20
config.training.batch_size = 16
if IMAGES:
    config.data.name, config.data.data_dir = "folder", IMAGES
else:
    config.data.name, config.data.category = "textures", "woven"
    sizes = (30, 6, 8) if SMALL else (120, 32, 64)
    options = ("n_train", "n_test_normal", "n_test_anomalous")
    config.data.options = dict(zip(options, sizes, strict=True))
if SMALL:
    config.encoder.stages, config.model.steps = (1, 2), 1

# %% [markdown]
# `random_if_unreachable` is there for machines without a network: if the pretrained weights can
# be neither downloaded nor found in the cache, training goes on with **random** weights and says
# so, loudly. Everything runs then, and the figures mean little. Take the line out and missing
# weights are an error.
#
# These are all the keys, with their defaults and what they mean; for figures like the paper's,
# use images of 256 x 256 and several hundred epochs.

# %%
print(describe_keys())

# %% [markdown]
# A look at what the detector will be told is normal:

# %%
from jaxflow.data.pipeline import read_images
from jaxflow.experiments.build import make_dataset

dataset = make_dataset(config)
test_count = 0 if dataset.test is None else len(dataset.test)
print(f"{len(dataset.train)} to train on, {len(dataset.validation)} held out, {test_count} to test")

normal = read_images(
    dataset.train.subset(range(min(6, len(dataset.train)))), config.data.image_size
)
figure, row = plt.subplots(1, len(normal), figsize=(12, 2.2), squeeze=False)
for axes, image in zip(row[0], normal, strict=True):
    axes.imshow(image)
    axes.axis("off")
figure.suptitle("normal images", fontsize=10, color="#6a737d")
plt.show()

# %% [markdown]
# ## Train
#
# The loss is the negative log-likelihood of the normal images, in nats per dimension; only its
# fall matters, its zero has no meaning. Stop the cell when you like: run it again and training
# goes on where it was. A `WORKDIR` that holds a run of another setting is refused.

# %%
from jaxflow.experiments.train_run import train_run

train_run(config, WORKDIR)

# %% [markdown]
# ## What the thresholds mean
#
# The score of an image is the hottest value of its map. How hot is too hot is read from the
# **held-out normal images**: training has not seen them, and no defect is needed. The heat maps'
# colors are fixed by them too, so one color means the same in every picture.

# %%
import jaxflow

model = jaxflow.load(WORKDIR)
score = model.deciding_score
calibration = model.selections["best"].calibrations[score]
print(f"score:           {score}")
print(f"image threshold: {calibration.image_threshold:.4g}, from {calibration.images} images")
print(f"pixel threshold: {calibration.pixel_threshold:.4g}")
print(
    f"A new normal image of the same source is called anomalous with a probability of at most "
    f"{calibration.expected_false_positive_rate:.1%}."
)

# %% [markdown]
# With n held-out images no threshold can promise fewer false alarms than 1 in n + 1: to allow
# fewer, hold out more. `config.evaluation.image_quantile` sets the share of normal images that
# should pass.
#
# ## Measure
#
# With test images, every figure comes twice: for the parameters after the `last` epoch, and for
# those with the `best` likelihood of held-out normal images. The test images choose nothing.
# `probability` is the score of the published FastFlow code, `nll` the exact negative
# log-likelihood.

# %%
from jaxflow.evaluate import SHOWN
from jaxflow.experiments.evaluate_run import evaluate_run
from jaxflow.reports.tables import format_table, result_table

if dataset.test is None:
    print(dataset.explain_unavailable())
else:
    rows = evaluate_run(config, WORKDIR, pictures=2 if SMALL else 12).rows
    display(Markdown(format_table(result_table(rows, SHOWN), markdown=True)))

# %% [markdown]
# The image with the median score of every kind: neither the best nor the worst that it does.

# %%
REPORT = WORKDIR / "evaluation"
if (REPORT / "overview.png").exists():
    display(Image(filename=str(REPORT / "overview.png")))

# %% [markdown]
# And the scores of all test images, with the threshold that was set before any of them was seen:

# %%
if (REPORT / "curves" / "histogram.png").exists():
    display(Image(filename=str(REPORT / "curves" / "histogram.png")))
    print(f"curves, pictures and figures on one page: {REPORT / 'index.html'}")

# %% [markdown]
# ## Judge new images
#
# Any images, of any size. Without a `NEW_IMAGES` folder the notebook takes those of `IMAGES`, its
# `test` folder if there is one, or else draws six fresh textures, three of them damaged.

# %%
import PIL.Image

from jaxflow.data.sets.textures import draw_example


def draw_new_images(folder, category="woven", seed=7):
    """Draw three normal and three damaged images, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, defect in enumerate([None, "scratch", None, "hole", None, "pulled_thread"]):
        image, _ = draw_example(category, 256, seed, "test", 20 + index, defect)
        PIL.Image.fromarray(image).save(folder / f"{index}_{defect or 'normal'}.png")
    return folder


if NEW_IMAGES:
    new_images = Path(NEW_IMAGES)
elif IMAGES:
    test_folder = Path(IMAGES) / "test"
    new_images = test_folder if test_folder.is_dir() else Path(IMAGES)
else:
    new_images = draw_new_images(WORKDIR / "new_images")

# %% [markdown]
# The model scores arrays, paths or a folder. The p-value of an image says how rare such a score is
# among normal images: of those no more than a share p have a p-value of p or less.
# `python -m jaxflow.predict` does the same from a shell, and writes a picture of each image.

# %%
result = model.score(new_images)
order = result.anomaly_scores.argsort()[::-1]
table = [
    {
        "image": Path(result.names[i]).name,
        score: float(result.anomaly_scores[i]),
        "p-value": float(result.p_values[i]),
        "decision": "anomalous" if result.decisions[i] else "normal",
    }
    for i in order[:20]
]
display(Markdown(format_table(table, markdown=True)))

# %% [markdown]
# The most suspicious come first. Heat starts to glow where a pixel passes its threshold; the last
# column outlines these pixels. The outline is generous around a strong defect, for the description
# of a place takes in its surroundings.

# %%
from jaxflow.data.image import decode_image, resize_image
from jaxflow.reports.pictures import ScoredImage, panel

for i in order[:3]:
    path = Path(result.names[i])
    image = resize_image(decode_image(path), model.size)
    scored = ScoredImage(path.name, image, result.anomaly_maps[i], float(result.anomaly_scores[i]))
    display(panel(scored, calibration.scale))

# %% [markdown]
# ## Where to go on
#
# - Too many false alarms: hold out more normal images, or train on more of what is normal (all
#   lights, all positions). Every variation that training never saw is an anomaly.
# - Small defects missed: larger images, `config.data.image_size = (256, 256)` or more.
# - A stronger encoder: `config.encoder.name = "wide_resnet50_2"`.
# - The same from a shell: `python -m jaxflow.train --help`.
# - A flow by itself, in a model of your own: `flows_as_flax_modules.ipynb`.
