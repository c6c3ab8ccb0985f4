r"""MSFlow on Wide-ResNet-50-2, 2, 5 and 8 parallel steps and the fusion (arXiv 2308.15300).

python -m jaxflow.train --config=configs/msflow_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

Expect, as the mean over the 15 categories of MVTec AD in the paper: image AUROC 0.997 and pixel
AUROC 0.988, with the best epoch on test for each. The flows have 99.6 M parameters, as many as the
public code's.

The public code's settings: 512 x 512, 100 epochs of batch 16, Adam 1e-4 with clipped gradients. The
images are scored by `msflow-top3`, the pixels by `msflow_sum`; both are reported.
"""

from jaxflow.experiments.config import msflow_config


def get_config():
    """Return the configuration."""
    config = msflow_config()
    config.data.name = "mvtec_ad"
    config.data.image_size = (512, 512)
    config.encoder.name = "wide_resnet50_2"
    return config
