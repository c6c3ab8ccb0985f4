r"""A first look at your own images, in minutes: ResNet-18, small images, few epochs.

python -m jaxflow.train --config=configs/first_look.py --workdir=runs/first \
    --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/first
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "folder"
    config.data.image_size = (128, 128)
    config.encoder.name = "resnet18"
    config.encoder.stages = (2, 3)
    config.model.kernel_sizes = (3,)
    config.training.epochs = 8
    return config
