"""Arrays that may be larger than the memory."""

import math
import os
import tempfile

import numpy as np

from jaxflow.errors import InputError


def scratch(shape: tuple[int, ...], *, on_disk: bool, what: str, advice: str = "") -> np.ndarray:
    """Make an array f32[*shape] to be filled: in memory, or in a nameless file.

    The file lies in the system's temporary folder (TMPDIR) and is gone with the process, however
    that ends.

    Args:
      shape: of the array.
      on_disk: whether it is a file.
      what: is kept there, for the message.
      advice: what helps besides room and TMPDIR, for the message.

    Raises:
      InputError: if the disk has no room for it.
    """
    if not on_disk:
        return np.empty(shape, np.float32)
    count = 4 * math.prod(shape)
    with tempfile.TemporaryFile() as file:
        try:
            # Without, a full disk is noticed at a write into the map, which ends the process.
            os.posix_fallocate(file.fileno(), 0, max(1, count))
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: no room for {what}, {count / 2**30:.1f} GiB: "
                f"{error.strerror}; make room, or set TMPDIR to another disk{advice}"
            ) from error
        return np.memmap(file, np.float32, mode="w+", shape=shape)
