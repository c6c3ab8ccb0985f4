r"""Jet on ResNet-18: couplings of channels and positions by transformers (arXiv 2412.15129).

python -m jaxflow.train --config=configs/jet_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The flow is that of the public code, which generates images; here every position of a feature map
takes the place of a patch. Nobody has published figures for it as a detector. The maps of stages 2
and 3: attention between the 64 x 64 positions of stage 1 would need 67 MB a head and image.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.encoder.stages = (2, 3)
    config.model.flow = "jet"
    config.model.normalization = "layer_norm"
    return config
