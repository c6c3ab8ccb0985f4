r"""CS-Flow on EfficientNet-B5 at three sizes of the image (arXiv 2110.02855).

python -m jaxflow.train --config=configs/cs_flow_efficientnet_b5.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD in the paper: image AUROC 0.987. The flow has
275 M parameters, as many as the public code's, so that training needs 4.4 GB for them.

The public code's settings: 768 x 768 and its half and quarter, 240 epochs of batch 16, Adam 2e-4
with epsilon 1e-4 and clipped gradients. Its encoder pads as for 456 x 456, and here as TensorFlow
does for each size. Images are scored by the mean square of all latents; the paper has no pixel
AUROC.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.data.image_size = (768, 768)
    config.encoder.name = "tf_efficientnet_b5"
    config.encoder.tag = "aa_in1k"
    config.encoder.stages = (6,)
    config.encoder.options.input_scales = (1, 2, 4)
    config.model.flow = "cs_flow"
    config.model.steps = 4
    config.model.kernel_sizes = (3, 3, 3, 5)
    config.model.hidden_ratio = 1024 / 152
    config.model.clamp = 3.0
    config.model.log_scale = "arctan"
    config.model.normalization = "none"
    config.training.epochs = 240
    config.training.batch_size = 16
    config.training.loss = "nll_per_dimension"
    config.training.optimizer = "adam_cs_flow"
    config.training.learning_rate = 2e-4
    config.evaluation.score = "latent-weighted-mean"
    return config
