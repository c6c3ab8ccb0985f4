r"""UFLOW on ResNet-18: CFLOW-AD without its condition (arXiv 2107.12571, section 5.2).

python -m jaxflow.train --config=configs/uflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The paper measures UFLOW only on Wide-ResNet-50-2, where it loses 0.005 of pixel AUROC to the
conditional flow; expect a little under `cflow_resnet18.py`.

Groups are of 256 vectors as in the public code; the paper's 8,192 needs 512 x 512. Without
augmentation (data.augmentation none) the encoder runs once, which is faster.
"""

from jaxflow.experiments.config import cflow_config


def get_config():
    """Return the configuration."""
    config = cflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.condition = "none"
    return config
