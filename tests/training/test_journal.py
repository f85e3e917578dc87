import json
import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from cnnlab.training.journal import Journal


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> list[Event]:
    """TFRecords: a length of 8 bytes, 4 of checksum, the record, 4 of checksum."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def test_a_line_and_a_scalar_for_every_value(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    journal.write(10, train_loss=2.5, train_error=50.0)
    assert lines(tmp_path) == [{"step": 10, "train_loss": 2.5, "train_error": 50.0}]  # at once
    journal.write(20, validation_loss=1.25)
    journal.close()
    assert [line["step"] for line in lines(tmp_path)] == [10, 20]
    scalars = {
        (value.tag, event.step): value.simple_value
        for event in events(tmp_path)
        for value in event.summary.value
    }
    assert scalars == {
        ("train_loss", 10): 2.5,
        ("train_error", 10): 50.0,
        ("validation_loss", 20): 1.25,
    }


def test_lines_of_later_steps_are_dropped_on_resuming(tmp_path: Path) -> None:
    written = "".join(f'{{"step": {step}, "loss": {step}.5}}\n' for step in (0, 10, 20, 30))
    (tmp_path / "metrics.jsonl").write_text(written)
    journal = Journal(tmp_path, 20)
    journal.write(30, loss=7.0)
    journal.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (0, 0.5),
        (10, 10.5),
        (20, 20.5),
        (30, 7.0),
    ]
    restart = next(event for event in events(tmp_path) if event.HasField("session_log"))
    assert restart.step == 21  # TensorBoard drops what it has from here on


def test_a_line_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for cut in ('{"step": 20, "lo', '{"step": 20}', '{"st\u00e9'):
        path.write_text('{"step": 10, "loss": 1.0}\n' + cut)
        Journal(tmp_path, 50).close()
        assert path.read_text() == '{"step": 10, "loss": 1.0}\n'
