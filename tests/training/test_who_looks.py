"""What only looks at a run (its pictures, its probe, its curves) changes nothing in its folder."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
import pytest

from cnnlab.evidence import curves
from cnnlab.training import journal, probes

NAMES = ("look", "probe")


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder.parent, *folder.parent.rglob("*")]
    }


@pytest.fixture
def folder(finished: Any, tmp_path: Path) -> Path:
    """A copy of a finished run's: checkpoints at 75 and 78."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def edited(folder: Path, section: str, key: str, value: object) -> None:
    path = folder / "config.json"
    found = json.loads(path.read_text())
    found[section][key] = value
    path.write_text(json.dumps(found))


def refused(
    launcher: Callable[[str], Any], name: str, folder: Path, capsys: Any
) -> tuple[int, str]:
    """The exit status and the line of a script that finds nothing to show; nothing is changed."""
    before = everything(folder)
    words = [str(folder), *(["--probe", "shift"] if name == "probe" else [])]
    status = launcher(name).main(words)
    said = capsys.readouterr().err
    assert everything(folder) == before
    assert (said.count("\n"), said.startswith("error: ")) == (1, True), said
    return status, said


# What config.json may be edited to, the exit status, and what is said.
EDITS: dict[str, tuple[str, str, object, int, str]] = {
    "another network": ("model", "name", "INPUT -> FC", 1, "its network is not the recipe's: "),
    "wider": ("model", "name", "INPUT -> AVGPOOL4 -> CONV3-8 -> BN -> RELU -> FC", 1,
              "is float32 [4] there, float32 [8] by the recipe"),
    "another optimiser": ("optimizer", "name", "adamw", 1, "its network is not the recipe's: "),
    "another average": ("optimizer", "ema_decay", 0.5, 1, "is missing there, float32"),
    "no network": ("model", "name", "resnt20", 2, "config.json: model: unknown model"),
    "no pattern": ("model", "name", "INPUT -> CONF3 -> FC", 2, "config.json: "),
    "no number": ("train", "batch_size", "x", 2, "config.json: train.batch_size must be integer"),
    "no batch": ("train", "batch_size", 0, 2, "config.json: train.batch_size = 0 must be a w"),
    "no such key": ("train", "bacth_size", 1, 2, "config.json: unknown key in train: 'bacth_size'"),
    "no such data": ("data", "name", "digit", 2, "config.json: unknown data.name: 'digit'"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("name", NAMES)
def test_an_edited_config_is_told_and_costs_nothing(
    launcher: Callable[[str], Any],
    folder: Path,
    capsys: Any,
    name: str,
    case: tuple[str, str, object, int, str],
) -> None:
    edited(folder, *case[:3])
    before = everything(folder)
    words = [str(folder), *(["--probe", "shift"] if name == "probe" else [])]
    status = launcher(name).main(words)
    said = capsys.readouterr().err
    assert everything(folder) == before
    assert (status, said.startswith("error: "), str(folder) in said) == (case[3], True, True), said
    assert case[4] in said


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError("no room")])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_cannot_be_read_is_told_and_stays(
    launcher: Callable[[str], Any],
    folder: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: Exception,
) -> None:
    def fail(*_: object, **options: object) -> Any:
        raise error

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    status, said = refused(launcher, name, folder, capsys)
    assert (status, "checkpoints/78 could not be read: " in said) == (1, True)
    assert said.endswith("nothing was moved or changed\n")


def test_a_damaged_one_is_passed_over_and_stays(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [path for path in (folder / "checkpoints" / "78").rglob("*") if path.is_file()]
    max(files, key=lambda path: path.stat().st_size).write_bytes(b"")
    before = everything(folder)
    with caplog.at_level(logging.WARNING, "cnnlab"):
        probes.load(folder)
    assert "checkpoint at step 78 is damaged" in caplog.text
    shutil.rmtree(folder / "checkpoints" / "75" / "state")
    between = everything(folder)
    assert between != before
    with pytest.raises(FileNotFoundError, match=f"no checkpoint in {folder}"):
        probes.load(folder)
    assert everything(folder) == between


@pytest.mark.parametrize("name", NAMES)
def test_without_checkpoints_no_folder_is_made_for_them(
    launcher: Callable[[str], Any], folder: Path, capsys: Any, name: str
) -> None:
    shutil.rmtree(folder / "checkpoints")
    status, said = refused(launcher, name, folder, capsys)
    assert (status, said) == (1, f"error: no checkpoint in {folder}\n")


def test_curves_and_journals_are_read_only(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 79, "tr')
    before = everything(folder)
    curves([folder])
    assert journal.read(folder)[-1]["step"] == 78
    assert everything(folder) == before
