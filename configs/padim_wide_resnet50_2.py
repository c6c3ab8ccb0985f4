r"""PaDiM on Wide-ResNet-50-2, 550 channels drawn at random (arXiv 2011.08785).

python -m jaxflow.train --config=configs/padim_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, as CFLOW-AD's Table 4 quotes: image AUROC
0.979 and pixel AUROC 0.975. The paper takes the 224 x 224 pixels in the middle; here the whole
image is read. Its 64 x 64 Gaussians take 5 GB, and twice as much while they are fitted.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "wide_resnet50_2"
    config.model.detector = "gaussian"
    config.model.options.channels = 550
    config.model.options.exponent = 0.0
    config.model.options.shrinkage = 0.01
    return config
