r"""Nearest neighbours of ResNet-18's features in a memory bank, with this project's settings.

python -m jaxflow.train --config=configs/memory_bank_resnet18.py --workdir=runs/memory_bank \
    --config.data.name=folder --config.data.data_dir=PATH
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.encoder.name = "resnet18"
    config.encoder.stages = (2, 3)
    config.model.detector = "memory_bank"
    return config
