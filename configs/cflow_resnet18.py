r"""CFLOW-AD on ResNet-18, three maps, 8 coupling layers (arXiv 2107.12571, Tables 2, 3 and 6).

python -m jaxflow.train --config=configs/cflow_resnet18.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD, in the paper: pixel AUROC 0.971 at 256 x 256
and 0.969 at 512 x 512; with the best size for each category image AUROC 0.968 and pixel AUROC
0.981. The public code keeps for each metric the epoch that is best on test; expect less at the
last. The decoders have 8.62 M parameters.

The paper takes 512 x 512 for most categories, 256 for cable, capsule, hazelnut, metal_nut and pill,
128 for transistor: `--config.data.image_size=(512,512)`; `compare --table=cflow-3` does so. Groups
are of 256 vectors as in the public code; the paper's 8,192 is `--config.training.vectors=8192`, and
needs 512 x 512, for at 256 a batch's coarsest map has 2,048. Without augmentation
(data.augmentation none) the encoder runs once, which is faster.
"""

from jaxflow.experiments.config import cflow_config


def get_config():
    """Return the configuration."""
    config = cflow_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "resnet18"
    return config
