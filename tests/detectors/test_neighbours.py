import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from jaxflow.detectors import neighbours
from jaxflow.detectors.neighbours import choose_coreset, k_centres, nearest


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow_centres(vectors, first, count):
    """Choose by Algorithm 1 of PatchCore, all distances from scratch each time."""
    chosen = [first]
    while len(chosen) < count:
        apart = distance.cdist(vectors, vectors[chosen]).min(1)
        apart[chosen] = -1.0
        chosen.append(int(apart.argmax()))
    return chosen


@pytest.mark.parametrize("block", [7, 16, 100])
@pytest.mark.parametrize("columns", [1, 5, 64])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_nearest_equals_all_distances_for_any_block(monkeypatch, block, columns, count):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    monkeypatch.setattr(neighbours, "_COLUMNS", columns)
    queries, vectors = draw(5, 6), draw(50, 6, seed=1)
    distances, indices = nearest(jnp.asarray(queries), jnp.asarray(vectors), count)
    every = distance.cdist(queries, vectors)
    np.testing.assert_array_equal(indices, np.argsort(every)[:, :count])
    np.testing.assert_allclose(distances, np.sort(every)[:, :count], rtol=1e-5)


def test_a_vector_of_the_bank_is_at_distance_0_however_long_it_is():
    vectors = draw(30, 8) + 1e4
    distances, indices = jax.jit(nearest, static_argnums=2)(vectors, vectors, 1)
    np.testing.assert_array_equal(distances, np.zeros((30, 1)))
    np.testing.assert_array_equal(vectors[indices[:, 0]], vectors)


def test_no_vector_is_its_own_neighbour_twice(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 4)
    vectors = draw(7, 3)
    _, indices = nearest(jnp.asarray(vectors), jnp.asarray(vectors), 7)
    np.testing.assert_array_equal(np.sort(indices), np.tile(np.arange(7), (7, 1)))


def test_neighbours_that_share_a_column_or_a_block_are_all_found(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 12)
    monkeypatch.setattr(neighbours, "_COLUMNS", 4)
    # The three nearest: in one column of one block, next to each other, in three blocks.
    for near in ([1, 5, 9], [4, 5, 6], [2, 14, 29], [23, 24, 12]):
        vectors = np.full((30, 1), 50.0, np.float32)
        vectors[near, 0] = 1.0, 2.0, 3.0
        distances, indices = nearest(jnp.zeros((1, 1)), jnp.asarray(vectors), 3)
        np.testing.assert_array_equal(indices[0], near)
        np.testing.assert_array_equal(distances[0], [1.0, 2.0, 3.0])


def test_fewer_vectors_than_neighbours_are_refused():
    with pytest.raises(ValueError, match="^vectors must be at least 3, as many as .*, got 2"):
        nearest(jnp.ones((1, 4)), jnp.ones((2, 4)), 3)


@pytest.mark.parametrize("first", [0, 17])
def test_k_centres_equals_a_slow_reference(first):
    vectors = draw(60, 5)
    got = k_centres(jnp.asarray(vectors), first, count=20)
    np.testing.assert_array_equal(got, slow_centres(vectors.astype(np.float64), first, 20))


def test_k_centres_chooses_no_vector_twice_even_among_copies():
    vectors = np.repeat(draw(3, 4), 4, 0)
    chosen = np.asarray(k_centres(jnp.asarray(vectors), 5, count=12))
    assert sorted(chosen) == list(range(12))
    assert len(np.unique(vectors[chosen[:3]], axis=0)) == 3


def test_coreset_is_drawn_by_its_seed_and_chosen_in_the_projection():
    vectors = draw(200, 40)
    one = choose_coreset(vectors, 10, None, 0)
    np.testing.assert_array_equal(one, slow_centres(vectors.astype(np.float64), int(one[0]), 10))
    np.testing.assert_array_equal(one, choose_coreset(vectors, 10, 40, 0))
    projected = choose_coreset(vectors, 10, 8, 0)
    np.testing.assert_array_equal(projected, choose_coreset(vectors, 10, 8, 0))
    assert set(projected) != set(one)
    assert choose_coreset(vectors, 10, 8, 1)[0] != projected[0]


def test_a_projection_keeps_distances_nearly(monkeypatch):
    seen = []
    monkeypatch.setattr(neighbours, "k_centres", lambda v, first, count: seen.append(v) or [0])
    vectors = draw(20, 2000)
    choose_coreset(vectors, 1, 500, 0)
    np.testing.assert_allclose(distance.pdist(seen[0]), distance.pdist(vectors), rtol=0.2)
