"""Parts from outside: files that add to the registries, and what a run records of them."""

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from jaxflow.errors import InputError
from jaxflow.experiments.user_files import PLUGIN, in_one_line, run_file
from jaxflow.files import file_sha256


class Plugin(NamedTuple):
    """A file that this process has run.

    Attributes:
      path: resolved.
      sha256: of what was run.
      parts: key -> the names that it added to that key's registry.
    """

    path: Path
    sha256: str
    parts: Mapping[str, Sequence[str]] = types.MappingProxyType({})


# File name -> plugin; as the registries, of the whole process.
PLUGINS: dict[str, Plugin] = {}


def run_plugins(paths: Sequence[str]) -> None:
    """Run plugins, each once in a process.

    Args:
      paths: Python files, as `--plugin` names them.

    Raises:
      InputError: if there is no such file, it fails, or what it adds to a registry is there
        already or is no such part; nothing of it is added then.
    """
    for path in paths:
        _run(path)


def _run(text: str) -> None:
    place, path = f"--plugin {text}", Path(text)
    if not path.is_file():
        raise InputError(f"{place}: no such file; give a Python file that adds to the registries")
    if known := PLUGINS.get(path.name):
        if known[:2] == (path.resolve(), file_sha256(path)):
            return
        raise InputError(
            f"{place}: another plugin of that name was run ({known.path}, SHA-256 "
            f"{known.sha256[:12]}...); give one of them, or rename it"
        )
    parts = registries()
    before = {key: dict(registry) for key, registry in parts.items()}
    try:
        with in_one_line(place, text):
            _, sha256 = run_file(text, PLUGIN + path.stem)
        _check_added(place, before, parts)
    except BaseException:
        for key, registry in parts.items():
            registry.clear()
            registry.update(before[key])
        raise
    added = {key: [name for name in each if name not in before[key]] for key, each in parts.items()}
    PLUGINS[path.name] = Plugin(path.resolve(), sha256, added)


def registries() -> dict[str, dict[str, Any]]:
    """Return what a plugin may add to, by the key that chooses from it."""
    from jaxflow.detectors import SCORES
    from jaxflow.experiments.choices import CHOICES  # It imports every registry: seconds.

    plain = {key: registry for key, registry in CHOICES.items() if isinstance(registry, dict)}
    return {**plain, "evaluation.score": SCORES}


def _check_added(
    place: str, before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> None:
    """Check that nothing that was there is another now, and that what is new can be used."""
    for key, registry in now.items():
        for name, entry in before[key].items():
            if registry.get(name) is not entry:
                raise InputError(
                    f"{place}: {key} {name!r} exists already; give yours a name of its own"
                )
        what, fits = _entry_of(key)
        for name in registry.keys() - before[key].keys():
            if not fits(registry[name]):
                raise InputError(
                    f"{place}: {key} {name!r} must be {what}, got {registry[name]!r:.80}"
                )


def _entry_of(key: str) -> tuple[str, Callable[[Any], bool]]:
    """Return what an entry of a registry is, in words and as a test."""
    from jaxflow.data.builder import AnomalyBuilder
    from jaxflow.detectors import Family, LatentScore, Loss
    from jaxflow.flows import Bijection

    kinds: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "data.name": (
            "a subclass of AnomalyBuilder",
            lambda entry: isinstance(entry, type) and issubclass(entry, AnomalyBuilder),
        ),
        "model.detector": ("a Family", lambda entry: isinstance(entry, Family)),
        "evaluation.score": ("a LatentScore", lambda entry: isinstance(entry, LatentScore)),
        "training.loss": ("a Loss", lambda entry: isinstance(entry, Loss)),
    }
    made = "a class or a function that makes one"
    return kinds.get(key, (made, lambda e: callable(e) and not isinstance(e, Bijection)))


def hashes() -> dict[str, str]:
    """Return the SHA-256 of each plugin that this process has run, by its file's name."""
    return {name: plugin.sha256 for name, plugin in sorted(PLUGINS.items())}


def as_flags() -> str:
    """Return what a command line needs for the same parts: a space and `--plugin=FILE` each."""
    return "".join(f" --plugin={plugin.path}" for plugin in PLUGINS.values())


def check_plugins(run: Path, recorded: Mapping[str, str]) -> None:
    """Check that plugins are those of a run, where they are given.

    Args:
      run: folder of the run.
      recorded: SHA-256 of its plugins, by file name.

    Raises:
      InputError: naming the first that has another SHA-256 now.
    """
    for name, sha256 in recorded.items():
        now = _at_hand(name)
        if now not in (None, sha256):
            raise InputError(
                f"{run} was trained with another {name} (SHA-256 {sha256[:12]}... then, "
                f"{now:.12}... now); give the same with --plugin, or train again in another workdir"
            )


def _at_hand(name: str) -> str | None:
    """Return the SHA-256 of a plugin that was run, or of a module that was imported."""
    if name in PLUGINS:
        return PLUGINS[name].sha256
    path = getattr(sys.modules.get(Path(name).stem), "__file__", None)
    return file_sha256(Path(path)) if path and Path(path).name == name else None


def check_parts(
    run: Path,
    config: ml_collections.ConfigDict,
    recorded: Mapping[str, str],
    choices: Mapping[str, Any],
) -> None:
    """Check that the parts of a run are registered, and its plugins the same.

    Args:
      run: folder of the run.
      config: of the run.
      recorded: SHA-256 of its plugins, by file name.
      choices: key -> registry, of the keys that matter.

    Raises:
      InputError: naming the first part that is not registered, and the plugins of the run.
    """
    from jaxflow.detectors import DETECTORS
    from jaxflow.experiments.detector import asked_scores

    check_plugins(run, recorded)
    for key, registry in choices.items():
        section, name = key.split(".")
        if config[section][name] not in registry:
            raise _missing(run, key, config[section][name], recorded)
    known = DETECTORS[config.model.detector].meanings
    for score in asked_scores(config):
        if score not in known:
            raise _missing(run, "evaluation.score", score, recorded)


def _missing(run: Path, key: str, value: str, recorded: Mapping[str, str]) -> InputError:
    files = [f"{name} (SHA-256 {sha256[:12]}...)" for name, sha256 in recorded.items()]
    source = f"it was trained with {', '.join(files)}" if files else "it is a part from outside"
    return InputError(
        f"{run}: no {key} {value!r} is registered; {source}: give the file with --plugin=FILE, or "
        "import it in Python"
    )
