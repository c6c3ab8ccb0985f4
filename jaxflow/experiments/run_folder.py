"""What a run's folder says of it: `run.json`, and the checks that it is still the same run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from jaxflow.errors import InputError
from jaxflow.experiments.config import check_complete
from jaxflow.experiments.plugins import check_parts
from jaxflow.files import check_writable, read_sealed_json, write_sealed_json
from jaxflow.model import forget

# Folder of a run's model in its workdir; written last, when the run is finished.
MODEL = "model"
# What else training leaves there.
_OURS = ("checkpoints", "best", "metrics.jsonl", MODEL)

# Fact of a run -> what it is in words, and the flag that tells where it lies now.
_FACTS = {
    "encoder_sha256": ("encoder weights", "weights"),
    "data_fingerprint": ("data", "data_dir"),
}


def save_run(workdir: Path, about: Mapping[str, Any]) -> None:
    """Write what a run is made of to `run.json`, or check that the folder holds the same run.

    It may go on to more epochs than it had: then the model of its end before is forgotten.

    Args:
      workdir: made if missing.
      about: `config`, and `facts` that it does not say: the encoder weights' SHA-256, the data's
        fingerprint; JSON-able.

    Raises:
      InputError: if the folder holds a run of another config, other weights or other data.
    """
    path = workdir / "run.json"
    new = {"config": about["config"], **about["facts"]}
    if path.exists():
        old = _read_run(path)
        # The same weights may have come from elsewhere: their SHA-256 decides.
        new["encoder_commit"] = old.get("encoder_commit")
        differences = _differences(old, new)
        if differences and not _goes_on(old, new, differences):
            raise InputError(
                f"{workdir} holds another run: {'; '.join(differences[:5])}; use another --workdir"
            )
        if differences:
            forget(workdir / MODEL)
            write_sealed_json(path, new)
        return
    if there := [name for name in _OURS if (workdir / name).exists()]:
        raise InputError(
            f"{workdir} holds {there[0]} but no run.json, so no run can go on there; use another "
            "--workdir"
        )
    make_folder("workdir", workdir)
    write_sealed_json(path, new)


def check_places(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Check that nothing is written among the user's images.

    Raises:
      InputError: if the workdir or the prepared data would lie in the folder of the images.
    """
    if not config.data.data_dir:
        return
    images = Path(config.data.data_dir).expanduser().resolve()
    places = {"--workdir": workdir, "config.data.cache_dir": config.data.cache_dir}
    for name, place in places.items():
        resolved = Path(place).expanduser().resolve()
        if place and images in (resolved, *resolved.parents):
            raise InputError(
                f"{name} {place} lies in the folder of the images, {images}, where what is written "
                "would be taken for images; name a folder outside"
            )


def make_folder(flag: str, folder: Path) -> None:
    """Make the folder that a flag names, if it is missing.

    Raises:
      InputError: if it cannot be made.
    """
    check_writable(flag, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--{flag} {folder}: no such folder can be made: {error.strerror}"
        ) from error


def is_run(workdir: Path) -> bool:
    """Tell whether a folder holds a run."""
    return (workdir / "run.json").exists()


def load_run(workdir: Path) -> tuple[ml_collections.ConfigDict, dict[str, Any]]:
    """Read the config and the facts that `save_run` wrote; nothing of them is executed.

    Raises:
      InputError: if the folder holds no run, or one of its parts is not registered.
    """
    path = workdir / "run.json"
    if not is_run(workdir):
        raise InputError(
            f"{workdir} holds no run (no run.json); train first: "
            f"python -m jaxflow.train --config=CONFIG --workdir={workdir}"
        )
    run = _read_run(path)
    from jaxflow.experiments.choices import CHOICES  # It imports every registry: seconds.

    config = complete_config(path, run.pop("config"))
    check_parts(workdir, config, run["plugins"], CHOICES)
    return config, run


def complete_config(path: Path, stored: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Return a stored config.

    Raises:
      InputError: if it has other keys than configs have now.
    """
    config = ml_collections.ConfigDict(stored)
    try:
        check_complete(str(path), config)
    except InputError as error:
        raise InputError(
            f"{path} is of another version of jaxflow, whose configurations have other keys; train "
            "again in another folder"
        ) from error
    return config


def check_facts(workdir: Path, facts: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that a run is used with the weights and the data that it was trained with.

    Args:
      workdir: of the run.
      facts: those of the run.
      now: those of what is at hand.

    Raises:
      InputError: naming what differs.
    """
    for name, (what, flag) in _FACTS.items():
        if facts.get(name) != now[name]:
            raise InputError(
                f"{workdir} was trained with other {what} ({name} {_short(facts.get(name))} then, "
                f"{_short(now[name])} now); give the same with --{flag}, or train in another "
                "workdir"
            )


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run = read_sealed_json(path)
    except InputError as error:
        raise InputError(f"{error}; put a copy of it there, or use another --workdir") from error
    if not isinstance(run.get("config"), dict):
        raise InputError(f"{path} describes no run; use another --workdir")
    return run


def _goes_on(old: dict[str, Any], new: dict[str, Any], differences: Sequence[str]) -> bool:
    """Tell whether a run differs from one before only by more epochs.

    Raises:
      InputError: if it does, and would not end as if it had had them from the start.
    """
    had, asked = (run["config"]["training"] for run in (old, new))
    if len(differences) > 1 or not asked["epochs"] > had["epochs"]:
        return False
    if asked["schedule"] != "constant":
        raise InputError(
            f"config.training.epochs {asked['epochs']}: the run there has {had['epochs']}, and "
            f"with the schedule {asked['schedule']} every learning rate depends on them; use "
            "another --workdir"
        )
    if had["epochs"] % asked["validate_every"]:
        raise InputError(
            f"config.training.epochs {asked['epochs']}: the last of the {had['epochs']} epochs "
            f"there was validated out of turn, every {asked['validate_every']}, so the best could "
            "be another than that of one training; use another --workdir"
        )
    return True


def _short(value: Any) -> str:
    """Return a value for a message; of a hash the beginning is enough."""
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    """List the places where two JSON trees differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += _differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
        return lines
    return [] if old == new else [f"{place} is {_short(old)} there and {_short(new)} here"]
