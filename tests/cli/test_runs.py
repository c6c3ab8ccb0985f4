"""A run's life: trained, trained again, damaged, evaluated, and what stands in the way of it."""

import json
import shutil

import pytest

import jaxflow

METRICS = [
    "image_auroc",
    "pixel_auroc",
    "pixel_aupro",
    "pixel_aupimo",
    "image_f1_max",
    "pixel_f1_max",
]


def read_log(workdir):
    """Return metrics.jsonl without the times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def train_again(command, config_file, workdir):
    return command("train", f"--config={config_file}", f"--workdir={workdir}")


def test_training_leaves_what_its_help_promises(trained):
    workdir, outcome = trained
    found = {path.name for path in workdir.iterdir()}
    assert found == {"run.json", "checkpoints", "best", "metrics.jsonl", "model"}
    assert f"python -m jaxflow.evaluate --workdir={workdir}" in outcome.out
    assert [line["step"] for line in read_log(workdir)] == [2, 4]
    assert all(line["validation_nll"] < 2 for line in read_log(workdir))


def test_training_a_finished_run_again_changes_nothing_and_says_so(
    command, config_file, trained_copy
):
    def content(name):
        return (trained_copy / name).read_bytes()

    names = ("run.json", "metrics.jsonl", "model/model.json", "model/last.safetensors")
    before = {name: content(name) for name in names}
    outcome = train_again(command, config_file, trained_copy)
    assert outcome.code == 0
    assert "trained to its end before" in outcome.out
    assert {name: content(name) for name in names} == before


def test_a_checkpoint_cut_short_is_passed_over_for_the_one_before(
    command, config_file, trained, trained_copy
):
    last = trained_copy / "checkpoints/4"
    for path in last.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcome = train_again(command, config_file, trained_copy)
    assert outcome.code == 0
    assert f"checkpoint {last}" in outcome.out
    assert "going back to the one before" in outcome.out
    assert "going on from step 2 of 4" in outcome.out
    assert read_log(trained_copy) == read_log(trained[0])
    for path in (trained[0] / "model").iterdir():
        assert (trained_copy / "model" / path.name).read_bytes() == path.read_bytes()


def test_a_workdir_of_another_config_is_left_alone_and_the_keys_are_named(
    mistake, config_file, trained
):
    workdir = trained[0]
    before = (workdir / "run.json").read_bytes()
    line = mistake(
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        "--config.model.clamp=1.5",
        "--config.training.epochs=3",
    )
    assert "config.model.clamp is 2.0 there and 1.5 here" in line
    assert "config.training.epochs is 2 there and 3 here" in line
    line = mistake(
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        "--config.training.epochs=1",
    )
    assert "config.training.epochs is 2 there and 1 here" in line
    assert "config.seed" not in line
    assert (workdir / "run.json").read_bytes() == before


def test_a_workdir_that_cannot_be_made_is_named(mistake, config_file, tmp_path):
    (tmp_path / "file").touch()
    line = mistake("train", f"--config={config_file}", f"--workdir={tmp_path / 'file'}")
    assert f"--workdir {tmp_path / 'file'}" in line


@pytest.mark.parametrize("content", ["", "[]", '{"config": 3}', '{"config": {"seed": 0}}'])
def test_a_damaged_run_file_is_named(mistake, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert str(tmp_path / "run.json") in mistake("evaluate", f"--workdir={tmp_path}")


def test_evaluating_a_folder_without_a_run_says_how_to_get_one(mistake, tmp_path):
    line = mistake("evaluate", f"--workdir={tmp_path / 'none'}")
    assert "no run" in line
    assert "python -m jaxflow.train" in line


def test_evaluating_an_unfinished_run_says_how_to_finish_it(mistake, trained_copy):
    shutil.rmtree(trained_copy / "model")
    assert "the same train command goes on" in mistake("evaluate", f"--workdir={trained_copy}")


@pytest.mark.parametrize("score", ["nll-calibrated-top", "cflow"])
def test_an_only_checkpoint_is_the_oracle_with_the_figures_of_the_run(
    command, config_file, tmp_path, score
):
    where = f"--workdir={tmp_path / 'run'}"
    options = ["--config.training.epochs=1", "--config.training.keep_all=True"]
    options += [f"--config.evaluation.score={score}", "--config.evaluation.scores=volume, nll-top"]
    outcome = command("train", f"--config={config_file}", where, *options)
    assert outcome.code == 0, outcome
    outcome = command("evaluate", where, "--oracle", "--pictures=0")
    assert outcome.code == 0, outcome
    rows = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())["results"]
    of_run, of_oracle = (
        {row["score"]: row["metrics"]["image_average_precision"] for row in rows if each(row)}
        for each in (lambda row: not row["oracle"], lambda row: row["oracle"])
    )
    assert of_run == of_oracle
    assert {score, "volume", "nll-top"} < of_run.keys()


def test_the_oracle_needs_all_checkpoints(mistake, trained):
    line = mistake("evaluate", f"--workdir={trained[0]}", "--oracle")
    assert "--config.training.keep_all=True" in line


def test_other_weights_than_those_of_training_are_refused(mistake, trained, weights_file, tmp_path):
    path = weights_file(tmp_path / "w.safetensors")
    for verb, more in (
        ("evaluate", []),
        ("predict", [f"--input={path}", f"--output={tmp_path / 'out'}"]),
    ):
        line = mistake(verb, f"--workdir={trained[0]}", f"--weights={path}", *more)
        assert "trained with other encoder weights" in line
        assert "--weights" in line
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def evaluated(command, trained, tmp_path_factory):
    """Evaluate a copy of the finished run, on the disturbed test images too."""
    workdir = shutil.copytree(trained[0], tmp_path_factory.mktemp("evaluated") / "run")
    plain = command("evaluate", f"--workdir={workdir}", "--pictures=1")
    disturbed = command("evaluate", f"--workdir={workdir}", "--pictures=0", "--test_set=disturbed")
    return workdir, plain, disturbed


def test_evaluation_prints_its_table_and_where_the_report_is(evaluated):
    workdir, outcome, _ = evaluated
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["selection", "score", *METRICS]
    # The last epoch is the best: two scores in a row each, and what the threshold promises.
    assert [line[:4] for line in lines[1:3]] == ["last"] * 2
    assert len(lines) == 6
    assert "last = best by validation likelihood" in lines[1]
    assert "from 1 held-out normal image it promises at most 50.0 % false alarms" in lines[3]
    assert "quantile 0.95 asks for 5 %, which takes 19 held-out images" in lines[3]
    folder = workdir / "evaluation"
    assert lines[-2] == f"pictures: {folder / 'overview.png'} and {folder / 'pictures'}"
    assert lines[-1] == f"report: {workdir / 'evaluation/index.html'}"
    for name in ("index.html", "metrics.json", "scores.csv", "overview.png", "curves/roc.png"):
        assert (workdir / "evaluation" / name).stat().st_size > 0
    assert len(list((workdir / "evaluation/pictures").iterdir())) == 1


def test_latents_are_drawn_on_request(command, trained_copy):
    outcome = command("evaluate", f"--workdir={trained_copy}", "--pictures=0", "--latents")
    assert outcome.code == 0, outcome
    folder = trained_copy / "evaluation"
    assert (folder / "curves/latents.png").stat().st_size > 0
    assert "curves/latents.png" in (folder / "index.html").read_text(encoding="utf-8")


def test_an_evaluation_that_fails_midway_leaves_the_earlier_one_whole(
    command, trained_copy, monkeypatch
):
    assert command("evaluate", f"--workdir={trained_copy}", "--pictures=1").code == 0
    folder = trained_copy / "evaluation"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*_, **__):
        raise OSError(28, "No space left on device", str(folder / "index.html"))

    monkeypatch.setattr("jaxflow.reports.run_report.write_report", full)
    outcome = command("evaluate", f"--workdir={trained_copy}", "--pictures=3", "--quantile=0.5")
    assert outcome.code == 1
    assert "No space left" in outcome.err.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_evaluation_with_random_weights_says_that_they_are(evaluated):
    err = evaluated[1].err
    assert "weights are RANDOM" in err
    assert err.count("\n") == 1


def test_the_disturbed_test_set_is_evaluated_beside_the_original(evaluated):
    workdir, _, outcome = evaluated
    assert outcome.code == 0, outcome
    rows = {
        name: len((workdir / name / "scores.csv").read_text().splitlines()) - 1
        for name in ("evaluation", "evaluation_disturbed")
    }
    assert rows == {"evaluation": 7, "evaluation_disturbed": 28}


@pytest.fixture(scope="module")
def bare(command, config_file, image_folder, tmp_path_factory):
    """Train on images without masks, none held out; evaluate where the data were moved to."""
    root = tmp_path_factory.mktemp("bare")
    images = image_folder(root / "images", masks=False)
    (images / "test/notes.txt").write_text("not an image")
    workdir = root / "run"
    train = command(
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        "--config.data.name=folder",
        f"--config.data.data_dir={images}",
        "--config.data.validation_fraction=0",
        "--config.training.epochs=1",
    )
    moved = shutil.move(images, root / "moved")
    evaluate = command("evaluate", f"--workdir={workdir}", f"--data_dir={moved}", "--pictures=0")
    return root, train, evaluate


def test_without_masks_the_pixel_metrics_are_skipped_and_named(bare):
    root, train, evaluate = bare
    assert (train.code, evaluate.code) == (0, 0), bare
    for err in (train.err, evaluate.err):
        assert (
            "cannot give pixel_auroc, pixel_aupro, pixel_aupimo, pixel_f1_max: it has no masks"
            in err
        )
    metrics = json.loads((root / "run/evaluation/metrics.json").read_text())["results"][0]
    assert 0 <= metrics["metrics"]["image_auroc"] <= 1
    assert metrics["skipped"]["pixel_auroc"] == "no masks"


def test_files_passed_over_are_told_by_each_command_and_on_the_page(bare):
    root, train, evaluate = bare
    for err in (train.err, evaluate.err):
        assert err.count("1 file passed over") == 1
        assert "\njaxflow: WARNING: " in f"\n{err}"
    assert "moved/test/notes.txt" in (root / "run/evaluation/index.html").read_text()


def test_without_held_out_images_there_is_no_best_and_no_threshold(bare):
    root, train, evaluate = bare
    assert "no images are held out" in train.err
    assert "no images were held out" in evaluate.err
    results = json.loads((root / "run/evaluation/metrics.json").read_text())["results"]
    assert {row["selection"] for row in results} == {"last"}
    assert all("image_threshold" not in row["metrics"] for row in results)
    (selection,) = jaxflow.load(root / "run").selections.values()
    assert selection.calibrations == {}


def test_data_that_changed_since_training_are_refused(bare, mistake, image, tmp_path):
    root = bare[0]
    images = shutil.copytree(root / "moved", tmp_path / "images")
    image(images / "train/good/0.png", seed=99)
    (images / "test/notes.txt").unlink()
    line = mistake("evaluate", f"--workdir={root / 'run'}", f"--data_dir={images}")
    assert "trained with other data" in line
    assert "--data_dir" in line


def test_scores_of_images_equal_those_of_the_evaluation(bare, command, tmp_path):
    root = bare[0]
    outcome = command(
        "predict",
        f"--workdir={root / 'run'}",
        f"--input={root / 'moved'}",
        f"--output={tmp_path / 'out'}",
    )
    assert outcome.code == 0, outcome
    assert "without decisions" in outcome.err
    predicted = read_scores(tmp_path / "out/scores.csv", "anomaly_score_probability")
    evaluated = read_scores(root / "run/evaluation/scores.csv", "anomaly_score_last_probability")
    assert len(evaluated) == 4
    for name, score in evaluated.items():
        assert predicted[name] == pytest.approx(score, abs=1e-5)


def read_scores(path, column):
    """Return name -> score."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    return {row[0]: float(row[rows[0].index(column)]) for row in rows[1:]}


def test_normal_images_alone_train_and_cannot_be_evaluated(
    command, mistake, config_file, image, tmp_path
):
    for i in range(6):
        image(tmp_path / "images" / f"{i}.png", i)
    workdir = tmp_path / "run"
    outcome = command(
        "train",
        f"--config={config_file}",
        f"--workdir={workdir}",
        "--config.data.name=folder",
        f"--config.data.data_dir={tmp_path / 'images'}",
        "--config.training.epochs=1",
    )
    assert outcome.code == 0, outcome
    assert "cannot give image_auroc, image_f1_max" in outcome.err
    assert "it has no test images" in outcome.err
    line = mistake("evaluate", f"--workdir={workdir}")
    assert "nothing to evaluate" in line
    assert "python -m jaxflow.predict" in line
