r"""FastFlow on ResNet-18 as a uniformly scaling flow (arXiv 2510.09452).

python -m jaxflow.train --config=configs/usf_fastflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Additive couplings in the coordinates of learned linear maps: before each coupling such a map, after
it the map's inverse, as in the authors' library. log_det is then the same for all images, so that
the likelihood says no more than the length of the latents, as in a Deep SVDD that cannot collapse.
The linear maps have the library's log-normal prior of deviation 1.

The paper finds FastFlow about as good in this form as with affine couplings. All else is that of
`fastflow_resnet18.py`. `--config.model.options.conjugate=False` has the maps only between the
couplings, where fixed permutations were.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    config.model.kernel_sizes = (3,)
    config.model.coupling = "additive"
    config.model.permutation = "linear"
    config.model.options.conjugate = True
    config.model.options.diagonal_prior = 1.0
    config.model.normalization = "layer_norm"
    return config
