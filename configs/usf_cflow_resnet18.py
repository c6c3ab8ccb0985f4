r"""CFLOW-AD on ResNet-18 as a uniformly scaling flow (arXiv 2510.09452).

python -m jaxflow.train --config=configs/usf_cflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Additive couplings in the coordinates of learned linear maps, with the log-normal prior of deviation
1 on their diagonals; see `usf_fastflow_resnet18.py`. The paper reports that CFLOW-AD gains most
from this, from 72.5 to 90.8 in its comparison. All else is that of `cflow_resnet18.py`.
"""

from jaxflow.experiments.config import cflow_config


def get_config():
    """Return the configuration."""
    config = cflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.coupling = "additive"
    config.model.permutation = "linear"
    config.model.options.conjugate = True
    config.model.options.diagonal_prior = 1.0
    return config
