r"""Glow's steps on ResNet-18: ActNorm, learned linear map, 3 x 3 coupling (arXiv 1807.03039).

python -m jaxflow.train --config=configs/glow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

`fastflow_resnet18.py` with an ActNorm and a learned linear map in each step, where FastFlow has an
affine map and a fixed permutation. As in Glow, every coupling starts as the identity. Nobody has
published figures for it.
The ActNorms start from the first 32 normal images.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.flow = "glow"
    config.model.kernel_sizes = (3,)
    config.model.coupling = "affine"
    config.model.normalization = "layer_norm"
    return config
