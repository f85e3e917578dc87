import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(params=sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_runs_from_start_to_end(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run = NotebookClient(
        jupytext.read(notebook), timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    # What a reader sees of the objects that are the last line of a cell.
    shown = {
        kind for cell in run.cells for output in cell.get("outputs", ()) for kind in kinds(output)
    }
    assert shown & {"text/html", "image/png"}


def kinds(output):
    return output.get("data", {}).keys()


def test_is_kept_with_what_it_printed(notebook):
    kept = nbformat.read(notebook.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in jupytext.read(notebook).cells
    ]
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|work)/", notebook.with_suffix(".ipynb").read_text())
