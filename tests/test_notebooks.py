"""The notebooks: kept as pairs of script and notebook, without outputs, and run from end to end."""

import json
import re
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ["exact_likelihood", "flows_as_flax_modules", "quickstart"]


def _cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def _execute(name, folder, monkeypatch):
    """Run the script's cells in the folder, small and without a network; return the outputs."""
    monkeypatch.setenv("JAXFLOW_NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _text(outputs, stream):
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == stream)


def _shown(outputs, kind):
    return [o.data[kind] for o in outputs if kind in o.get("data", {})]


def _cells_of(table):
    """Return the cells of the body of a Markdown table."""
    return [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_every_notebook_is_a_pair_that_is_tested():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.py")) == NAMES
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_script_and_notebook_hold_the_same_cells(name):
    script = jupytext.read(NOTEBOOKS / f"{name}.py")
    notebook = jupytext.read(NOTEBOOKS / f"{name}.ipynb")
    assert _cells(script) == _cells(notebook), "run `make notebooks`"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_stored_without_outputs(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_quickstart_leads_from_images_to_heat_maps(tmp_path, monkeypatch):
    outputs = _execute("quickstart", tmp_path, monkeypatch)
    # Normal images, overview, histogram, and the three most suspicious of the new images.
    assert len(_shown(outputs, "image/png")) == 6
    measured, judged = _shown(outputs, "text/markdown")
    assert "image_auroc" in measured
    assert judged.count(".png") == 6
    assert "GOING ON WITH RANDOM WEIGHTS" in _text(outputs, "stderr")
    assert "Warning" not in _text(outputs, "stderr")


def test_flow_notebook_trains_checks_and_samples_a_flow(tmp_path, monkeypatch):
    outputs = _execute("flows_as_flax_modules", tmp_path, monkeypatch)
    assert len(_shown(outputs, "image/png")) == 6
    assert _text(outputs, "stderr") == ""
    first, last = re.search(r"(\S+) -> (\S+) nats per pixel", _text(outputs, "stdout")).groups()
    assert float(last) < float(first) - 0.3


def test_likelihood_notebook_compares_five_densities_and_splits_their_likelihood(
    tmp_path, monkeypatch
):
    outputs = _execute("exact_likelihood", tmp_path, monkeypatch)
    assert len(_shown(outputs, "image/png")) == 3
    toy, compared, terms = (_cells_of(each) for each in _shown(outputs, "text/markdown"))
    # Outside, then in the gap, by likelihood and by latent: first the Gaussian, then the flow.
    found = [row[2:] for row in toy]
    assert found[:2] == [["4 of 4", "4 of 4"], ["0 of 4", "0 of 4"]]
    assert found[2:] == [["4 of 4", "4 of 4"], ["4 of 4", "0 of 4"]]
    assert len(compared) == 5
    assert all(-5 < float(row[2]) < 5 for row in compared)
    assert [row[0] for row in terms] == [row[0] for row in compared[1:]]
