"""After a change of a notebook, or of what one shows, `make notebooks` keeps it anew."""

import re
from itertools import takewhile
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(params=sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def notebook(request):
    return request.param


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What sorts of output a cell has; how often a stream was flushed says nothing."""
    return {kind for output in cell.outputs for kind in output.get("data", {"text": ""})}


def words(cell):
    """What a reader sees: the HTML, else the plain text."""
    data = [output.data for output in cell.outputs if "data" in output]
    return [each.get("text/html", each.get("text/plain")) for each in data]


def test_runs_from_start_to_end_and_shows_what_is_kept(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    place = {"metadata": {"path": str(tmp_path)}}
    run = NotebookClient(jupytext.read(notebook), timeout=300, resources=place).execute()
    kept = nbformat.read(notebook.with_suffix(".ipynb"), as_version=4)
    pairs = list(zip(code_cells(run), code_cells(kept), strict=True))
    assert [kinds(cell) for cell, _ in pairs] == [kinds(cell) for _, cell in pairs]
    assert {"text/html", "image/png"} & set().union(*(kinds(cell) for cell, _ in pairs))
    # What is trained has other bits on another machine.
    for cell, before in takewhile(lambda pair: "training.run" not in pair[0].source, pairs):
        assert words(cell) == words(before), cell.source


def test_is_kept_as_it_was_written(notebook):
    kept = nbformat.read(notebook.with_suffix(".ipynb"), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in jupytext.read(notebook).cells
    ]
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert not re.search(r"/(home|root|tmp|Users)/", notebook.with_suffix(".ipynb").read_text())
