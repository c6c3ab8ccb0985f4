r"""UFLOW on ResNet-18 as a uniformly scaling flow: `usf_cflow_resnet18.py` without its condition.

python -m jaxflow.train --config=configs/usf_uflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

UFLOW is the unconditional form of CFLOW-AD (arXiv 2107.12571, section 5.2), and not the U-shaped
U-Flow that arXiv 2510.09452 also makes uniformly scaling. Nobody has published figures for this
one. All else is that of `uflow_resnet18.py`.
"""

from jaxflow.experiments.config import cflow_config


def get_config():
    """Return the configuration."""
    config = cflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.condition = "none"
    config.model.coupling = "additive"
    config.model.permutation = "linear"
    config.model.options.conjugate = True
    config.model.options.diagonal_prior = 1.0
    return config
