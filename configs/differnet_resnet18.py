r"""DifferNet on ResNet-18: one vector of an image, of three sizes (arXiv 2008.12577).

python -m jaxflow.train --config=configs/differnet_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The paper has image AUROC 0.949 as the mean over the 15 categories of MVTec AD. Here two things
differ, and nobody has published figures for that; expect less. Its encoder is AlexNet, which timm
does not have. This one is stage 3 of ResNet-18, which has as many channels, so that the flow has
172 M parameters, as many as the public code's. And it scores an image by the mean over 64 rotations
of it. Here the image is scored as it is, because a score sees feature maps and no image.

The public code's settings: 448 x 448 and its half and quarter, 192 epochs of batch 24, Adam 2e-4,
four rotations of an image in each step, here one. The anomaly map is constant over an image, so
that the pixel metrics say nothing.
"""

from jaxflow.experiments.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.data.image_size = (448, 448)
    config.data.augmentation = "differnet"
    config.encoder.name = "resnet18"
    config.encoder.stages = (3,)
    config.encoder.options.input_scales = (1, 2, 4)
    config.encoder.options.pooled = True
    config.model.flow = "differnet"
    config.model.steps = 8
    config.model.hidden_ratio = 2048 / 384
    config.model.clamp = 3.0
    config.model.log_scale = "arctan"
    config.model.normalization = "none"
    config.training.epochs = 192
    config.training.batch_size = 24
    config.training.loss = "nll_per_dimension"
    config.training.optimizer = "adam_differnet"
    config.training.learning_rate = 2e-4
    config.evaluation.score = "latent"
    return config
