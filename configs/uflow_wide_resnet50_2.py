r"""UFLOW on Wide-ResNet-50-2: CFLOW-AD without its condition (arXiv 2107.12571, Table 2).

python -m jaxflow.train --config=configs/uflow_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, in the paper: pixel AUROC 0.969 at 512 x 512
(`--config.data.image_size=(512,512)`), where the conditional flow has 0.974.

Groups are of 256 vectors as in the public code; the paper's 8,192 needs 512 x 512. Without
augmentation (data.augmentation none) the encoder runs once, which is faster.
"""

from jaxflow.experiments.config import cflow_config


def get_config():
    """Return the configuration."""
    config = cflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "wide_resnet50_2"
    config.model.condition = "none"
    return config
