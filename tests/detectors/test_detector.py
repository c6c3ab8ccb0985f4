import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxflow.detectors import (
    SCORES,
    USUAL_SCORES,
    FlowDetector,
    FlowPyramid,
    nll,
    probability,
    upsample,
)
from jaxflow.encoders import load_encoder
from jaxflow.errors import InputError
from jaxflow.flows import NORMALIZATIONS, CFlowDecoder, FastFlow2D
from jaxflow.training import run_passes

SIZE = (32, 48)
ALL = (*SCORES, "nll-calibrated-median_top", "nll-max_p-top", "probability-top")
FLOWS = {
    "fastflow": FastFlow2D(steps=1),
    "cflow": CFlowDecoder(steps=1, permutation="hard"),
}
CONDITION = {"fastflow": ("none",), "cflow": ("position", 8)}


@pytest.fixture(scope="module")
def resnet18():
    return load_encoder("resnet18", stages=(1, 2), weights="random")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (32, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def build(perturb, images):
    """Make a detector, its variables, and its jitted scoring: score(images)."""

    @functools.cache
    def build(encoder, flow="fastflow", normalization="layer_norm"):
        pyramid = FlowPyramid(FLOWS[flow], len(encoder.channels), normalization, *CONDITION[flow])
        detector = FlowDetector(encoder, pyramid, ALL)
        variables = detector.init(jax.random.key(0), SIZE)
        maps = detector.encoder(detector.encoder.variables, images)
        valid = [(maps, np.ones(len(images), bool))]
        variables = run_passes(detector.before, {"last": variables}, valid)["last"]
        constants = variables["constants"]
        drawn = {
            name: jnp.cumsum(jnp.full_like(value, 0.1), -1) - 1.0
            for name, value in constants.items()
            if name.endswith("_reference")
        }
        assert len(drawn) == 4
        variables["constants"] = {**constants, **drawn}
        variables["params"] = perturb(variables["params"], 0.05)
        return (
            detector,
            variables,
            functools.partial(jax.jit(functools.partial(score, detector)), variables),
        )

    def score(detector, variables, images):
        maps = detector.encoder(detector.encoder.variables, images)
        return detector.score(variables, maps, images.shape[1:3])

    return build


@pytest.mark.parametrize("flow", FLOWS)
def test_maps_are_the_means_of_the_upsampled_scores_at_odd_sizes(resnet18, images, build, flow):
    detector, variables, score = build(resnet18, flow)
    size = (29, 33)
    some = images[:2, : size[0], : size[1]]
    got = score(some)
    feature_maps = jax.jit(resnet18.__call__)(resnet18.variables, some)
    latents = jax.jit(detector.latents)(variables, feature_maps)
    assert [latent.z.shape[3] for latent in latents] == [64, 128]
    for name, formula in (("probability", probability), ("nll", nll)):
        expected = sum(upsample(formula(latent), size) for latent in latents) / 2
        assert expected.shape == (2, *size)
        np.testing.assert_allclose(got[name].anomaly_map, expected, 1e-4, 1e-5)
        np.testing.assert_array_equal(
            got[name].anomaly_score, np.max(got[name].anomaly_map, (1, 2))
        )
        assert np.asarray(expected).std() > 1e-3


def test_another_encoder_feeds_the_same_flow(images, build):
    encoder = load_encoder("deit_tiny_distilled_patch16_224", stages=(0,), weights="random")
    maps = build(encoder)[2](images[:2])
    assert maps["nll"].anomaly_map.shape == (2, *SIZE)
    assert np.isfinite(maps["nll"].anomaly_map).all()


@pytest.mark.parametrize(
    ("flow", "normalization"), [*(("fastflow", n) for n in NORMALIZATIONS), ("cflow", "none")]
)
def test_scores_do_not_depend_on_the_batch(resnet18, images, build, flow, normalization):
    score = build(resnet18, flow, normalization)[2]
    together, turned = score(images), score(images[::-1])
    alone = score(images[5:6])
    for name in ALL:
        for single, reverse, batch in zip(alone[name], turned[name], together[name], strict=True):
            scale = np.abs(batch).max()
            np.testing.assert_allclose(single[0], batch[5], 0, 1e-5 * scale)
            np.testing.assert_allclose(reverse[::-1], batch, 0, 1e-5 * scale)
        scores = together[name].anomaly_score
        # Images are told apart, but by MSFlow's product, which saturates at 1.
        assert np.ptp(scores) > 1e-3 * np.abs(scores).max() or name == "msflow"


def test_only_the_scores_asked_for_are_given(resnet18, build):
    pyramid = build(resnet18)[0].pyramid
    maps = [
        jax.ShapeDtypeStruct((1, *s, c), jnp.float32) for s, c in (((8, 12), 64), ((4, 6), 128))
    ]
    for scores in (USUAL_SCORES, ("nll",)):
        detector = FlowDetector(resnet18, pyramid, scores)
        variables = jax.eval_shape(lambda d=detector: d.init(jax.random.key(0), SIZE))
        given = jax.eval_shape(lambda v, m, d=detector: d.score(v, m, SIZE), variables, maps)
        assert set(given) == set(scores)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"condition": "color"}, "condition must be one of none, position, got 'color'"),
        ({"condition": "position", "condition_dim": 6}, "dim must be a positive multiple of 4"),
    ],
)
def test_unknown_condition_is_refused(resnet18, choice, message):
    pyramid = FlowPyramid(FLOWS["cflow"], 2, "none", **choice)
    with pytest.raises(ValueError, match=f"^{message}"):
        jax.eval_shape(lambda: FlowDetector(resnet18, pyramid).init(jax.random.key(0), SIZE))


def test_size_that_the_encoder_cannot_take_is_refused(resnet18):
    detector = FlowDetector(resnet18, FlowPyramid(FLOWS["fastflow"], maps=2))
    with pytest.raises(InputError, match="input size 4 x 48: too small for resnet18"):
        detector.init(jax.random.key(0), (4, 48))
