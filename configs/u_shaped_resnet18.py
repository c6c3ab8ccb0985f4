r"""U-Flow on ResNet-18: a U-shaped flow over all maps (arXiv 2211.12353).

python -m jaxflow.train --config=configs/u_shaped_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The settings of `u_shaped_wide_resnet50_2.py` on a smaller encoder. The flow has 1.48 M parameters,
and the layer norm 0.92 M, as many as the public code's. CFLOW-AD's UFLOW is another flow:
`uflow_resnet18.py`.
"""

from jaxflow.experiments.config import u_shaped_config


def get_config():
    """Return the configuration."""
    config = u_shaped_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    return config
