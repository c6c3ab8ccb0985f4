r"""CFLOW-AD on MobileNetV3-Large, three maps, 8 coupling layers (arXiv 2107.12571, Tables 2 and 6).

python -m jaxflow.train --config=configs/cflow_mobilenetv3.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, in the paper: pixel AUROC 0.976 at 256 x 256
and 0.982 at 512 x 512. The public code keeps for each metric the epoch that is best on test; expect
less at the last.

Groups are of 256 vectors as in the public code; the paper's 8,192 is
`--config.training.vectors=8192`, and needs 512 x 512, for at 256 a batch's coarsest map has 2,048.
Without augmentation (data.augmentation none) the encoder runs once, which is faster.
"""

from jaxflow.config import default_config


def get_config():
    """Return the configuration."""
    config = default_config()
    config.data.name = "mvtec_ad"
    config.data.image_size = (256, 256)
    config.data.augmentation = "cflow"
    config.encoder.name = "mobilenetv3_large_100"
    config.encoder.stages = (3, 5, 6)
    config.model.flow = "cflow"
    config.model.condition = "position"
    config.model.steps = 8
    config.model.hidden_ratio = 2.0
    config.model.clamp = 1.9
    config.model.permutation = "soft"
    config.model.normalization = "none"
    config.training.epochs = 100
    config.training.batch_size = 32
    config.training.vectors = 256
    config.training.loss = "log_sigmoid"
    config.training.optimizer = "adam_l2"
    config.training.learning_rate = 2e-4
    config.training.weight_decay = 0.0
    config.training.schedule = "cosine_warmup"
    config.training.warmup_epochs = 2
    config.evaluation.score = "cflow"
    return config
