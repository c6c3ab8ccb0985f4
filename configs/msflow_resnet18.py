r"""MSFlow on ResNet-18, 2, 5 and 8 parallel steps and the fusion (arXiv 2308.15300).

python -m jaxflow.train --config=configs/msflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The settings of `msflow_wide_resnet50_2.py` on a smaller encoder at 256 x 256, for which the paper
has no figures. The flows have 9.19 M parameters, as many as the public code's.
"""

from jaxflow.experiments.config import msflow_config


def get_config():
    """Return the configuration."""
    config = msflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    return config
