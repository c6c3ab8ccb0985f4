"""A first run in minutes: FastFlow on ResNet-18 over the embedded textures.

python -m jaxflow.train --config=configs/quickstart.py --workdir=runs/quickstart
python -m jaxflow.evaluate --workdir=runs/quickstart

Expect, in about two minutes on two CPU cores, image / pixel AUROC 0.96 / 0.98 with the pretrained
weights; where the hub is not reachable, about 0.73 / 0.89 with random ones (0.72 to 0.74,
by the processor).
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "textures"
    config.data.category = "woven"
    config.data.image_size = (128, 128)
    config.data.options = {"n_train": 120, "n_test_normal": 32, "n_test_anomalous": 64}
    config.encoder.random_if_unreachable = True
    config.training.epochs = 20
    config.training.batch_size = 16
    return config
