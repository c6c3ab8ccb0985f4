"""Where encoder weights come from: the Hugging Face hub or a safetensors file, never a pickle."""

import dataclasses
import pathlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping

import numpy as np

from jaxflow.encoders.layout import Shape
from jaxflow.errors import InputError, needs_extra
from jaxflow.files import file_sha256

HUB_FILE = "model.safetensors"
_PROBE_SECONDS = 4.0
_FLOATS = ("F64", "F32", "F16", "BF16")
_SHOWN = 4


class WeightsUnavailable(InputError):
    """The hub's weights are neither cached nor reachable.

    Apart from other input errors so that a caller may go on without them, explicitly.
    """


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A safetensors file, the SHA-256 of its bytes and, from the hub, its commit."""

    path: pathlib.Path
    sha256: str
    commit: str | None = None


def find_weights(source: str, repo: str, revision: str | None = None) -> WeightsFile:
    """Find the weights file of a source.

    Args:
      source: "hub", or the path of a .safetensors file.
      repo: hub repository that "hub" means, e.g. "timm/resnet18.tv_in1k".
      revision: branch, tag or commit of that repository; None is its main branch.

    Raises:
      WeightsUnavailable: "hub", not cached and the hub cannot be reached.
      InputError: the path does not exist, or is not a .safetensors file.
    """
    if source == "hub":
        path = _from_hub(repo, revision)
        # The hub's cache keeps a file in a folder named by the commit that a revision meant.
        return WeightsFile(path, file_sha256(path), path.parent.name)
    path = _from_path(source, repo)
    return WeightsFile(path, file_sha256(path))


def read_tensors(
    path: pathlib.Path, expected: Mapping[str, Shape], known: Collection[str]
) -> dict[str, np.ndarray]:
    """Read the expected tensors of a safetensors file, as float32, refusing any other file.

    Args:
      path: the file.
      expected: shape of each key that must be there.
      known: keys, or prefixes ending in a dot, that may be there and are not read.

    Raises:
      InputError: not a safetensors file; keys missing, unknown, or of a wrong shape or type.
    """
    with needs_extra("detectors"):
        import safetensors
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            _check_keys(path, expected, known, set(file.keys()))
            _check_tensors(path, expected, file)
            return {key: np.asarray(file.get_tensor(key), np.float32) for key in expected}
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({_one_line(error)}); "
            "fetch it again, or give another with --config.encoder.weights=PATH"
        ) from error


def _check_keys(
    path: pathlib.Path, expected: Mapping[str, Shape], known: Collection[str], found: set[str]
) -> None:
    prefixes = tuple(key for key in known if key.endswith("."))
    unknown = sorted(
        key
        for key in found - expected.keys() - set(known)
        if not key.startswith(prefixes) and not key.endswith(".num_batches_tracked")
    )
    missing = sorted(expected.keys() - found)
    problems = []
    if missing:
        problems.append(f"{len(missing)} keys missing ({_some(missing)})")
    if unknown:
        problems.append(f"{len(unknown)} keys unknown to the encoder ({_some(unknown)})")
    if problems:
        raise InputError(
            f"{path}: {' and '.join(problems)} of {len(expected)} expected; "
            "give weights of the same encoder in timm's key names"
        )


def _check_tensors(path: pathlib.Path, expected: Mapping[str, Shape], file) -> None:
    wrong = []
    for key, shape in expected.items():
        entry = file.get_slice(key)
        found = tuple(entry.get_shape())
        if found != shape:
            wrong.append(f"{key} expected {list(shape)}, got {list(found)}")
        elif entry.get_dtype() not in _FLOATS:
            wrong.append(f"{key} expected floating point, got {entry.get_dtype()}")
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} tensors of a wrong shape or type ({_some(wrong)}); "
            "give weights of the same encoder in timm's key names"
        )


def _from_path(source: str, repo: str) -> pathlib.Path:
    path = pathlib.Path(source).expanduser()
    if path.suffix != ".safetensors":
        raise InputError(
            f"encoder weights {source!r}: expected hub, random or the path of a .safetensors file; "
            f"pickles are never loaded, the same weights are {HUB_FILE} of "
            f"https://huggingface.co/{repo}"
        )
    if not path.is_file():
        raise InputError(
            f"{path}: no such weights file; fetch {HUB_FILE} of https://huggingface.co/{repo} "
            "and give its path with --config.encoder.weights=PATH"
        )
    return path


def _from_hub(repo: str, revision: str | None) -> pathlib.Path:
    # Only here: the hub's client is slow to import and most runs read its cache or a path.
    with needs_extra("detectors"):
        import huggingface_hub
        from huggingface_hub import errors
    try:
        return pathlib.Path(
            huggingface_hub.hf_hub_download(
                repo, HUB_FILE, revision=revision, local_files_only=True
            )
        )
    except errors.LocalEntryNotFoundError:
        pass
    _probe(repo, revision)
    try:
        return pathlib.Path(huggingface_hub.hf_hub_download(repo, HUB_FILE, revision=revision))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"encoder weights {repo}: the hub has no revision {revision or 'main'!r} of it; "
            "give one that exists with --config.encoder.revision=NAME"
        ) from error
    except (errors.HTTPError, errors.XetDownloadError, OSError) as error:
        raise _unavailable(repo, revision, error) from error


def _probe(repo: str, revision: str | None) -> None:
    """Ask the hub for anything at all: its own client retries for 23 seconds before it gives up."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise _unavailable(repo, revision, "HF_HUB_OFFLINE is set")
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # It answered.
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return  # It answered; whose certificates to trust is the client's own affair.
        raise _unavailable(repo, revision, error.reason) from error
    except OSError as error:
        raise _unavailable(repo, revision, error) from error


def _unavailable(repo: str, revision: str | None, reason: object) -> WeightsUnavailable:
    at = f" at revision {revision}" if revision else ""
    return WeightsUnavailable(
        f"encoder weights {repo}{at} are not cached and cannot be fetched ({_one_line(reason)}); "
        f"fetch https://huggingface.co/{repo}/resolve/{revision or 'main'}/{HUB_FILE} elsewhere "
        "and give its path with --config.encoder.weights=PATH"
    )


def _some(items: list[str]) -> str:
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:200]
