"""From a folder to a model."""

from pathlib import Path

from jaxflow.errors import InputError
from jaxflow.experiments.detector import MODEL_CHOICES, make_detector, make_encoder
from jaxflow.experiments.plugins import check_parts
from jaxflow.experiments.run_folder import MODEL, check_facts, complete_config, is_run
from jaxflow.model import Model, is_model, read_about, read_model


def load(
    path: str | Path, *, weights: str | Path | None = None, batch_size: int | None = None
) -> Model:
    """Load what a run has learned.

    Args:
      path: folder of a run that was trained to its end, or of `Model.save`.
      weights: file of the encoder's weights, if it was moved.
      batch_size: images at once; None: that of the run.

    Returns:
      The model; nothing of the folder is executed.

    Raises:
      InputError: if there is no finished run, a file is damaged, a part from outside is not
        registered, or its plugin or the encoder's weights are not those of training.
    """
    folder = Path(path) / MODEL if is_model(Path(path) / MODEL) else Path(path)
    if not is_model(folder):
        raise InputError(
            f"{path} holds no run that was trained to its end; train first: python -m "
            f"jaxflow.train --config=CONFIG --workdir={path} (the same train command goes on)"
        )
    try:
        about = read_about(folder)["about"]
    except InputError as error:
        raise _train_again(folder, error) from error
    if "config" not in about:
        raise InputError(
            f"{folder}: the model was not built from a configuration; build its detector and call "
            "jaxflow.model.read_model"
        )
    config = complete_config(folder, about["config"])
    if weights is not None:
        config.encoder.weights = str(weights)
    facts = about["facts"]
    check_parts(Path(path), config, facts["plugins"], MODEL_CHOICES)
    encoder = make_encoder(config)
    check_facts(Path(path), facts, {**facts, "encoder_sha256": encoder.sha256})
    detector = make_detector(config, encoder)
    try:
        return read_model(folder, detector, batch_size)
    except InputError as error:
        raise _train_again(folder, error) from error


def _train_again(folder: Path, error: InputError) -> InputError:
    if not is_run(folder.parent):
        return error
    return InputError(
        f"{error}; delete {folder} and start the same train command again: it is computed again"
    )
