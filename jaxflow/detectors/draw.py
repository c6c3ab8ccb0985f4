"""Feature vectors of normal images, drawn at random where there are too many to keep."""

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """Vectors that a pass has kept so far.

    Attributes:
      images: how many images were seen.
      ranks: f64[n] each, random; where there is a limit the vectors of lowest rank are kept.
      vectors: f32[n, c] each.
      owners: i64[n] each, the number of the image that a vector is from.
    """

    images: int = 0
    ranks: tuple[np.ndarray, ...] = ()
    vectors: tuple[np.ndarray, ...] = ()
    owners: tuple[np.ndarray, ...] = ()

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all vectors f32[n, c] and their owners i64[n]."""
        return np.concatenate(self.vectors), np.concatenate(self.owners)


def draw(drawn: Drawn, vectors: np.ndarray, seed: int, limit: int | None) -> Drawn:
    """Add the vectors f32[b, h, w, c] of b images, and keep `limit` of all, every one as likely.

    Args:
      drawn: what was kept before.
      vectors: of the next images, in order.
      seed: of the choice, which does not depend on how the images come in batches.
      limit: at most so many are kept; None: all.
    """
    positions = vectors.shape[1] * vectors.shape[2]
    numbers = range(drawn.images, drawn.images + len(vectors))
    ranks = [np.random.default_rng([seed, number]).random(positions) for number in numbers]
    more = Drawn(
        drawn.images + len(vectors),
        (*drawn.ranks, *ranks),
        (*drawn.vectors, vectors.reshape(-1, vectors.shape[-1])),
        (*drawn.owners, np.repeat(np.asarray(numbers), positions)),
    )
    return more if limit is None else _lowest(more, limit)


def _lowest(drawn: Drawn, limit: int) -> Drawn:
    """Keep the vectors of the lowest ranks, at most `limit`, in the order of their ranks."""
    ranks, (vectors, owners) = np.concatenate(drawn.ranks), drawn.joined()
    order = np.argsort(ranks)[:limit]
    return Drawn(drawn.images, (ranks[order],), (vectors[order],), (owners[order],))
