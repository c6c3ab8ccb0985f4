import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from jaxflow.detectors import Detector
from jaxflow.detectors.grid import align
from jaxflow.detectors.memory_bank import MemoryBank
from jaxflow.detectors.spade import Spade
from jaxflow.encoders import Encoder
from jaxflow.errors import InputError

SIZE, GRID = (16, 24), (4, 6)
CHANNELS, STRIDES = (3, 4), (4, 8)

ENCODER = Encoder(
    name="toy",
    tag=None,
    weights="random",
    sha256=None,
    stages=(1, 2),
    module=types.SimpleNamespace(channels=CHANNELS, strides=STRIDES),
    variables={},
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    input_size=32,
)


def draw_maps(n, seed=0):
    noise = np.random.default_rng(seed)
    return [
        noise.standard_normal((n, SIZE[0] // s, SIZE[1] // s, c)).astype(np.float32)
        for c, s in zip(CHANNELS, STRIDES, strict=True)
    ]


def bank_of(variables):
    return np.asarray(variables["constants"]["bank"])


def rows(vectors):
    """Give vectors as a set that can be compared."""
    return {tuple(v) for v in np.asarray(vectors).reshape(-1, vectors.shape[-1]).tolist()}


def plain(**options):
    return MemoryBank(ENCODER, **{"unit": False, "smoothing": 0, **options})


@pytest.mark.parametrize("detector", [MemoryBank(ENCODER), Spade(ENCODER)], ids=["bank", "spade"])
def test_they_answer_the_contract(detector):
    answers: Detector = detector
    assert answers.objective is None
    assert answers.after == ()
    assert set(answers.scores) <= set(answers.meanings)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_plain_nearest_neighbours_equal_all_distances(fit, neighbours):
    detector, maps, others = plain(neighbours=neighbours), draw_maps(6), draw_maps(2, seed=1)
    variables = fit(detector, maps)
    normal = np.asarray(align(maps)).reshape(-1, 7)
    assert rows(bank_of(variables)) == rows(normal)
    scored = jax.jit(detector.score, static_argnums=2)(variables, others, GRID)["distance"]
    every = distance.cdist(np.asarray(align(others)).reshape(-1, 7), normal)
    expected = np.sort(every)[:, :neighbours].mean(1).reshape(2, *GRID)
    np.testing.assert_allclose(scored.anomaly_map, expected, rtol=1e-5)
    np.testing.assert_allclose(scored.anomaly_score, expected.max((1, 2)), rtol=1e-5)


def test_an_image_of_the_bank_is_at_distance_0(fit):
    detector, maps = plain(), draw_maps(6)
    scored = detector.score(fit(detector, maps), [m[2:3] for m in maps], GRID)["distance"]
    np.testing.assert_allclose(scored.anomaly_map, np.zeros((1, *GRID)), atol=1e-5)


def test_neighbourhood_is_the_mean_of_the_positions_that_exist(fit):
    detector, maps = plain(neighbourhood=3), draw_maps(1)
    maps[1][:] = 0.0
    bank = bank_of(fit(detector, maps)).reshape(*GRID, 7)
    for row, column in np.ndindex(GRID):
        window = maps[0][0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        np.testing.assert_allclose(bank[row, column, :3], window.mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_reweighting_equals_equation_7(fit):
    detector = plain(reweighting=True, support=4)
    maps, others = draw_maps(6), draw_maps(3, seed=1)
    variables = fit(detector, maps)
    bank = bank_of(variables).astype(np.float64)
    scores = detector.score(variables, others, GRID)["distance"].anomaly_score
    for patches, score in zip(np.asarray(align(others)).reshape(3, -1, 7), scores, strict=True):
        every = distance.cdist(patches, bank)
        q = every.min(1).argmax()
        m = every[q].argmin()
        around = np.argsort(distance.cdist(bank[m][None], bank)[0])[:4]
        assert m in around
        s = every[q, m]
        expected = (1 - np.exp(s) / np.exp(every[q, around]).sum()) * s
        np.testing.assert_allclose(score, expected, rtol=1e-5)
        assert 0 < score < s


def test_reweighting_stays_finite_where_distances_are_large(fit):
    detector, others = plain(reweighting=True), draw_maps(1, seed=1)
    others = [1e4 * m for m in others]
    scored = detector.score(fit(detector, draw_maps(6)), others, GRID)["distance"]
    assert np.isfinite(scored.anomaly_score).all()
    assert scored.anomaly_score[0] <= scored.anomaly_map.max()


def test_a_limited_bank_is_drawn_by_the_key_whatever_the_batches(fit):
    detector, maps = plain(bank=20), draw_maps(6)
    bank = bank_of(fit(detector, maps))
    assert bank.shape == (20, 7)
    assert rows(bank) < rows(align(maps))
    np.testing.assert_array_equal(bank, bank_of(fit(detector, maps, sizes=(1,) * 6)))
    assert rows(bank) != rows(bank_of(fit(detector, maps, seed=1)))
    # More than there are: all of them.
    assert rows(bank_of(fit(plain(bank=1000), maps))) == rows(align(maps))


def test_every_vector_is_as_likely_to_be_drawn(fit):
    counts = np.zeros(6)
    maps = [np.broadcast_to(np.arange(6.0)[:, None, None, None], m.shape) for m in draw_maps(6)]
    for seed in range(60):
        bank = bank_of(fit(plain(bank=12), maps, seed=seed))
        counts += np.bincount(bank[:, 0].astype(int), minlength=6)
    # 720 draws of 6 images: 120 each, give or take 10.
    assert abs(counts - 120).max() < 40


def test_coreset_keeps_a_share_that_covers_all(fit):
    detector, maps = plain(coreset=0.25), draw_maps(6)
    variables, everything = fit(detector, maps), np.asarray(align(maps)).reshape(-1, 7)
    bank = bank_of(variables)
    assert bank.shape == (36, 7)
    assert rows(bank) < rows(everything)
    drawn = everything[np.random.default_rng(0).choice(len(everything), 36, replace=False)]
    radius = [distance.cdist(everything, few).min(1).max() for few in (bank, drawn)]
    assert radius[0] < radius[1]


def slow_spade(maps, other, images, neighbours):
    """Score one image by the paper's Eq. 1 and 2."""
    pooled, query = maps[-1].mean((1, 2)), other[-1].mean((0, 1))
    squares = np.square(pooled - query).sum(-1)
    similar = np.argsort(squares)[:images]
    gallery = np.asarray(align([m[similar] for m in maps])).reshape(-1, 7)
    every = distance.cdist(np.asarray(align([m[None] for m in other])).reshape(-1, 7), gallery)
    nearest = np.sort(every**2)[:, :neighbours].mean(1)
    return nearest.reshape(GRID), np.sort(squares)[:images].mean()


def test_spade_equals_a_slow_reference(fit):
    detector = Spade(ENCODER, images=3, neighbours=2, smoothing=0)
    maps, others = draw_maps(8), draw_maps(2, seed=1)
    scored = jax.jit(detector.score, static_argnums=2)(fit(detector, maps), others, GRID)
    for i in range(2):
        grid, score = slow_spade(maps, [m[i] for m in others], 3, 2)
        np.testing.assert_allclose(scored["distance"].anomaly_map[i], grid, rtol=1e-5)
        np.testing.assert_allclose(scored["distance"].anomaly_score[i], score, rtol=1e-5)


DETECTORS = {
    "plain": plain(),
    "patchcore": MemoryBank(
        ENCODER, unit=False, neighbourhood=3, coreset=0.5, reweighting=True, smoothing=1.0
    ),
    "unit": MemoryBank(ENCODER, smoothing=1.0),
    "spade": Spade(ENCODER, images=4, smoothing=1.0),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_an_image_is_scored_the_same_in_any_batch(fit, name):
    detector, others = DETECTORS[name], draw_maps(32, seed=1)
    variables = fit(detector, draw_maps(8))
    score = jax.jit(detector.score, static_argnums=2)
    together = score(variables, others, SIZE)["distance"]
    for i in (0, 31):
        single = score(variables, [m[i : i + 1] for m in others], SIZE)["distance"]
        for a, b in zip(single, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DETECTORS)
def test_init_gives_the_final_arrays_but_for_their_number(fit, name):
    detector = DETECTORS[name]
    before, after = detector.init(jax.random.key(0), SIZE), fit(detector, draw_maps(8))
    assert jax.tree.map(lambda a: (a.shape[1:], a.dtype), before) == jax.tree.map(
        lambda a: (a.shape[1:], a.dtype), after
    )
    assert before["params"] == {}
    assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(after))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_defect_stands_out_where_it_is(fit, name):
    detector, others = DETECTORS[name], [m + 5.0 for m in draw_maps(2, seed=1)]
    others[0][1, 2, 4] -= 15.0
    others[1][1] += 1.0
    normal = [m + 5.0 for m in draw_maps(8)]
    scored = detector.score(fit(detector, normal), others, SIZE)["distance"]
    assert scored.anomaly_score[1] > 1.5 * scored.anomaly_score[0]
    row, column = np.unravel_index(scored.anomaly_map[1].argmax(), SIZE)
    # A neighbourhood of 3 spreads it by one position.
    assert abs(row // 4 - 2) <= 1
    assert abs(column // 4 - 4) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ("nll",)}, "score must be one of distance, got 'nll'"),
        ({"neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"neighbourhood": 2}, "neighbourhood must be odd and positive, got 2"),
        ({"bank": 0}, "bank must be at least 1, got 0"),
        ({"coreset": 1.5}, "coreset must be above 0 and at most 1, got 1.5"),
        ({"coreset": 0.0}, "coreset must be above 0 and at most 1, got 0.0"),
        ({"projection": 0}, "projection must be at least 1, got 0"),
        ({"support": 1}, "support must be at least 2, got 1"),
        ({"smoothing": -1.0}, "smoothing must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MemoryBank(ENCODER, **options)


@pytest.mark.parametrize("name", ["images", "neighbours"])
def test_wrong_options_of_spade_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, got 0"):
        Spade(ENCODER, **{name: 0})


def test_a_bank_that_is_too_small_says_what_to_do(fit):
    with pytest.raises(InputError, match="^memory bank: 2 vectors .* expected at least 9"):
        fit(plain(bank=2, reweighting=True), draw_maps(2))
    with pytest.raises(InputError, match="^spade: 8 normal images, expected at least 50"):
        fit(Spade(ENCODER), draw_maps(8))


@pytest.mark.parametrize("detector", [plain(), Spade(ENCODER)], ids=["bank", "spade"])
def test_nothing_is_scored_before_the_pass(detector):
    variables = detector.init(jax.random.key(0), SIZE)
    with pytest.raises(ValueError, match="^variables must hold .* got 0$"):
        detector.score(variables, [jnp.asarray(m) for m in draw_maps(1)], SIZE)


def test_unit_makes_the_length_of_each_maps_vectors_count_for_nothing(fit):
    maps, others = draw_maps(6), draw_maps(2, seed=1)
    lengths = [np.random.default_rng(i).uniform(0.1, 9.0, m.shape[:3]) for i, m in enumerate(maps)]
    longer = [m * x[..., None].astype(np.float32) for m, x in zip(maps, lengths, strict=True)]
    scores = {}
    for unit in (True, False):
        detector = plain(unit=unit)
        for name, normal in (("as drawn", maps), ("longer", longer)):
            scored = detector.score(fit(detector, normal), others, GRID)["distance"]
            scores[unit, name] = scored.anomaly_map
    np.testing.assert_allclose(scores[True, "longer"], scores[True, "as drawn"], rtol=1e-4)
    assert not np.allclose(scores[False, "longer"], scores[False, "as drawn"], rtol=0.1)
    unit_maps = [m / np.linalg.norm(m, axis=-1, keepdims=True) for m in maps]
    expected = np.asarray(align(unit_maps)).reshape(-1, 7)
    np.testing.assert_allclose(bank_of(fit(plain(unit=True), maps)), expected, rtol=1e-5, atol=1e-6)


def test_they_say_what_they_are():
    options = "neighbours 1, unit False, neighbourhood 1, bank 500, coreset 0.1, projection"
    assert plain(bank=500, coreset=0.1).describe().startswith(f"MemoryBank: {options}")
    assert Spade(ENCODER).describe() == "Spade: images 50, neighbours 1, smoothing 4.0"
