r"""FastFlow on ResNet-18, 3 x 3 convolutions only, as in arXiv 2111.07677, Table 6.

python -m jaxflow.train --config=configs/fastflow_resnet18.py --workdir=runs/screw \
    --config.data.name=mvtec_ad --config.data.category=screw --config.data.data_dir=PATH
"""

from jaxflow.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.kernel_sizes = (3,)
    return config
