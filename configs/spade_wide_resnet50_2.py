r"""SPADE on Wide-ResNet-50-2, the 50 nearest images (arXiv 2005.02357).

python -m jaxflow.train --config=configs/spade_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, as CFLOW-AD's Table 4 quotes: image AUROC
0.855 and pixel AUROC 0.960. The paper takes the 224 x 224 pixels in the middle, and finds the
nearest images by the encoder's pooled features; here the whole image is read, and they are found by
its last map.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "wide_resnet50_2"
    config.model.detector = "spade"
    return config
