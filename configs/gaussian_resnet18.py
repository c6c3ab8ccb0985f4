r"""A Gaussian at each position of ResNet-18's maps, with this project's settings.

python -m jaxflow.train --config=configs/gaussian_resnet18.py --workdir=runs/gaussian \
    --config.data.name=folder --config.data.data_dir=PATH
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.encoder.name = "resnet18"
    config.encoder.stages = (2, 3)
    config.model.detector = "gaussian"
    return config
