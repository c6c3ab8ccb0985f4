r"""U-Flow on Wide-ResNet-50-2: a U-shaped flow over all maps (arXiv 2211.12353).

python -m jaxflow.train --config=configs/u_shaped_wide_resnet50_2.py --workdir=runs/screw \
    --config.data.category=screw --config.data.data_dir=PATH
python -m jaxflow.evaluate --workdir=runs/screw

The paper's pixel AUROC of 0.987 on MVTec AD is that of two CaiT encoders together, with the best
epoch on test; expect less. The flow has 23.6 M parameters, and the layer norm 3.7 M, as many as the
public code's. CFLOW-AD's UFLOW is another flow: `uflow_wide_resnet50_2.py`.

The public code's defaults: 4 steps a stage, 200 epochs of batch 8, Adam 1e-4. Its batch and rate of
each category, chosen on test, are not here. Its segmentation tests regions of the latents by their
number of false alarms; here the score is that of its anomaly map.
"""

from jaxflow.experiments.config import u_shaped_config


def get_config():
    """Return the configuration."""
    config = u_shaped_config()
    config.data.name = "mvtec_ad"
    config.encoder.name = "wide_resnet50_2"
    return config
