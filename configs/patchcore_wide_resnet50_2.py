r"""PatchCore on Wide-ResNet-50-2, a coreset of 25 % (arXiv 2106.08265).

python -m jaxflow.train --config=configs/patchcore_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, in the paper: image AUROC 0.991 and pixel
AUROC 0.981. The paper resizes to 256 x 256 and takes the 224 x 224 pixels in the middle; here the
whole image is read.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "wide_resnet50_2"
    config.encoder.stages = (2, 3)
    config.model.detector = "memory_bank"
    config.model.options.unit = False
    config.model.options.neighbourhood = 3
    config.model.options.coreset = 0.25
    config.model.options.reweighting = True
    return config
