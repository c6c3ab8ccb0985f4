r"""FastFlow on ResNet-18, 3 x 3 convolutions only (arXiv 2111.07677, Tables 1, 5 and 6).

python -m jaxflow.train --config=configs/fastflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD: image AUROC 0.979 and pixel AUROC 0.972 in
the paper; PyTorch reimplementations reach a pixel AUROC of 0.956 at the last epoch and of 0.972 at
the best on test. The flows have 4.66 M parameters.

The paper augments MVTec AD, the reimplementations do not. Neither does this config, so that the
encoder runs once and a CPU is enough; `--config.data.augmentation=fastflow` is the paper's.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.kernel_sizes = (3,)
    config.model.coupling = "affine"
    config.model.normalization = "layer_norm"
    return config
