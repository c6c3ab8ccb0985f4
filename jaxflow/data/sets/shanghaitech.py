"""ShanghaiTech Campus: frames of surveillance cameras at 13 scenes, with masks frame by frame."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.example import NORMAL
from jaxflow.data.image import encode_png
from jaxflow.data.image_file import printable
from jaxflow.data.layouts import beside_notes, relative_name
from jaxflow.data.places import require_category, require_folder
from jaxflow.data.records import Listing, Record
from jaxflow.data.scan import Scan, image_files, scan, subfolders
from jaxflow.errors import InputError

CATEGORIES = tuple(f"{scene:02d}" for scene in range(1, 14))

# Scene 13 has only training videos.
UNTESTED = ("13",)

DEFECT = "event"

_MASKS = ("test_frame_mask", "test_pixel_mask")

_ADVICE = (
    "expected training/frames/01_001/*.jpg, testing/frames/01_0014/*.jpg, "
    "testing/test_frame_mask/01_0014.npy and testing/test_pixel_mask/01_0014.npy, from "
    "https://svip-lab.github.io/dataset/campus_dataset.html"
)


class ShanghaiTech(AnomalyBuilder):
    """ShanghaiTech Campus, one config per scene.

    The training videos come as avi files: their frames are extracted beforehand.

    Reference: Liu, Luo, Lian and Gao, "Future Frame Prediction for Anomaly Detection", CVPR 2018;
    used frame by frame in arXiv 2107.12571, section 5.1.
    """

    name = "shanghaitech"
    BUILDER_CONFIGS = category_configs(CATEGORIES)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"For manual_dir, {_ADVICE}."

    @staticmethod
    def list_records(
        *, data_dir: str | None, category: str | None, train_stride: int = 1
    ) -> Listing:
        """List one scene: all its test frames, and its training frames.

        A frame is anomalous where its number in test_frame_mask is not 0; the mask of such a
        frame is its slice of test_pixel_mask, not 0 where anomalous.

        Args:
          data_dir: holds training and testing.
          category: one of `CATEGORIES`, "01" to "13"; "13" has no test.
          train_stride: of each training video, one frame in so many is used; the paper used all.

        Returns:
          The listing; the defect of anomalous frames is "event".

        Raises:
          InputError: if the folder has another layout, or if masks are missing, unreadable, or of
            another length than their video.
        """
        root = require_folder("shanghaitech", data_dir, _ADVICE)
        require_category("shanghaitech", category, CATEGORIES)
        if isinstance(train_stride, bool) or not isinstance(train_stride, int) or train_stride < 1:
            raise InputError(
                "shanghaitech: train_stride must be a whole number of at least 1, got "
                f"{train_stride}"
            )
        scene = str(category)
        training = _videos(root, "training", scene)
        testing = [] if scene in UNTESTED else _videos(root, "testing", scene)
        masks = root / "testing"
        return Listing(
            category=scene,
            train=[
                Record(relative_name(path, root), path)
                for video in training
                for path in _frames(video)[::train_stride]
            ],
            test=[record for video in testing for record in _test_records(root, video)],
            sources=[masks / kind / f"{video.name}.npy" for video in testing for kind in _MASKS],
            notes=_notes(root, scene, [*training, *testing]),
        )


def _videos(root: Path, part: str, scene: str) -> list[Path]:
    frames = root / part / "frames"
    videos = [path for path in subfolders(frames) if path.name.startswith(f"{scene}_")]
    if videos:
        return videos
    files = sorted((root / part / "videos").glob(f"{scene}_*.avi"))
    if files:
        raise InputError(
            f"shanghaitech: {files[0]} is a video; extract each into a folder of its name, as with "
            f"`ffmpeg -i {files[0].name} -start_number 0 ../frames/{files[0].stem}/%08d.jpg`"
        )
    raise InputError(f"shanghaitech: no folders {scene}_* of frames in {frames}; {_ADVICE}")


def _frames(video: Path) -> list[Path]:
    # Numbers may lack leading zeros: the shorter come first.
    frames = sorted(image_files(video), key=lambda path: (len(path.stem), path.stem))
    if not frames:
        raise InputError(f"shanghaitech: no frames in {video}; {_ADVICE}")
    return frames


def _notes(root: Path, scene: str, videos: Sequence[Path]) -> list[str]:
    """Name what lies in the folders of a scene and is not read."""
    passed = Scan()
    deep = [path for video in videos for path in passed.add(scan(video)) if path.parent != video]
    names = {video.name for video in videos}
    alone = [
        path
        for kind in _MASKS
        for path in sorted((root / "testing" / kind).glob(f"{scene}_*"))
        if path.stem not in names
    ]
    notes = [*beside_notes(deep), *passed.notes()]
    if alone:
        notes.append(f"{len(alone)} masks belong to no video, the first is {printable(alone[0])}")
    return notes


def _test_records(root: Path, video: Path) -> Iterator[Record]:
    frames = _frames(video)
    labels = _load(root / "testing" / "test_frame_mask" / f"{video.name}.npy", 1, len(frames))
    masks = _load(root / "testing" / "test_pixel_mask" / f"{video.name}.npy", 3, len(frames))
    for path, label, mask in zip(frames, labels, masks, strict=True):
        name = relative_name(path, root)
        if label:
            yield Record(name, path, DEFECT, functools.partial(_png, mask))
        else:
            yield Record(name, path, NORMAL)


def _load(path: Path, ndim: int, n: int) -> np.ndarray:
    """Map an array of one number or one mask for each of n frames."""
    if not path.is_file():
        raise InputError(f"shanghaitech: no file {path}; {_ADVICE}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"shanghaitech: {path} is no array that can be read; get it again"
        ) from error
    expected = "[frames]" if ndim == 1 else "[frames, height, width]"
    if array.ndim != ndim or len(array) != n:
        raise InputError(
            f"shanghaitech: {path} has the shape {list(array.shape)}, expected "
            f"{expected} for the {n} frames of the video; extract or get them again"
        )
    return array


def _png(mask: np.ndarray) -> bytes:
    return encode_png(np.asarray(mask) != 0)
