"""Every file of a run and of the prepared data, damaged: one line, and never other figures."""

import contextlib
import io
import shutil

import pytest

from jaxflow import evaluate, predict, train

MAINS = {"train": train.main, "evaluate": evaluate.main, "predict": predict.main}


def run(verb, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = MAINS[verb]([verb, *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def half(content):
    return content[: len(content) // 2]


def one_bit(content):
    changed = bytearray(content)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)


DAMAGES = {"half": half, "empty": lambda content: b"", "one_bit": one_bit, "gone": None}


@pytest.fixture(scope="module")
def whole(config_file, trained, image, tmp_path_factory):
    """Give a finished run with a cache of its own, and the figures that it gives."""
    root = tmp_path_factory.mktemp("whole")
    for i in range(2):
        image(root / "photos" / f"{i}.png", i)
    arguments = [f"--config={config_file}", f"--config.data.cache_dir={root / 'cache'}"]
    assert run("train", *arguments, f"--workdir={root / 'run'}")[0] == 0
    return root, arguments, figures(root, root / "photos", arguments)


def figures(root, photos, arguments):
    """Resume, evaluate and predict; give what each says in files, or its exit code."""
    found = {}
    code, _, err = run("train", *arguments, f"--workdir={root / 'run'}")
    assert (code, "Traceback" in err) in ((0, False), (2, False)), err
    found["log"] = (root / "run/metrics.jsonl").read_bytes() if code == 0 else code
    code, _, err = run("evaluate", f"--workdir={root / 'run'}", "--pictures=0")
    assert (code, "Traceback" in err) in ((0, False), (2, False)), err
    found["scores"] = (root / "run/evaluation/scores.csv").read_bytes() if code == 0 else code
    output = root / "scored"
    given = [f"--input={photos}", f"--output={output}", "--nopictures"]
    code, _, err = run("predict", f"--workdir={root / 'run'}", *given)
    assert (code, "Traceback" in err) in ((0, False), (2, False)), err
    found["predicted"] = (output / "scores.csv").read_bytes() if code == 0 else code
    return found


def without_seconds(log):
    return [line.split(b', "seconds"')[0] for line in log.splitlines()]


def small_files(root):
    """List a file of each kind of a run and of its prepared data."""
    names = ["run.json", "metrics.jsonl", "model/model.json", "model/best.safetensors"]
    names = [root / "run" / name for name in names]
    for folder in ("checkpoints", "best"):
        step = max((root / "run" / folder).iterdir(), key=lambda path: int(path.name))
        names += [step / "SHA256SUMS", max(step.rglob("d/*"), key=lambda p: p.stat().st_size)]
        names.append(next(path for path in (step / "info").rglob("*") if path.is_file()))
    names += [path for path in (root / "cache").rglob("*") if path.is_file()]
    return [path.relative_to(root) for path in names]


@pytest.mark.parametrize(
    ("damage", "share"),
    # The quick tests damage every fourth file.
    [("one_bit", 4), *(pytest.param(damage, 1, marks=pytest.mark.slow) for damage in DAMAGES)],
)
def test_no_damage_is_a_traceback_or_changes_a_figure_without_a_word(
    whole, damage, share, tmp_path
):
    root, arguments, expected = whole
    for folder in ("run", "cache"):
        shutil.copytree(root / folder, tmp_path / folder)
    for name in small_files(root)[::share]:
        path = root / name
        if DAMAGES[damage] is None:
            path.unlink()
        else:
            path.write_bytes(DAMAGES[damage](path.read_bytes()))
        found = figures(root, root / "photos", arguments)
        for what, value in found.items():
            if what == "log" and not isinstance(value, int):
                assert without_seconds(value) == without_seconds(expected[what]), name
            else:
                assert value in (2, expected[what]), (name, what)
        for folder in ("run", "cache"):
            shutil.rmtree(root / folder)
            shutil.copytree(tmp_path / folder, root / folder)
    assert all(not isinstance(value, int) for value in expected.values())
