"""Files written whole, JSON read or told, names that stay in their folder."""

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cnnlab.files import BadFile, BadName, Format, inside, read_text, strict, write_whole, writing

ROOT = Path(__file__).parents[1]

# Names


@pytest.mark.parametrize("name", ["a", "three_3x3", "1.5", "..a", "-x", "~", "é" * 100, "x" * 200])
def test_a_name_is_a_folder_in_its_root(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name, "b") == tmp_path / name / "b"
    inside(tmp_path, name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


REFUSED = {
    "": "empty",
    ".": "ends in a dot",
    "..": "ends in a dot",
    "...": "ends in a dot",
    "a.": "ends in a dot",
    "a ": "or a space",
    "/etc": "it has /",
    "../../x": "it has /",
    "a/b": "it has /",
    "a\\b": r"it has \\",
    "C:": "it has :",
    'a"?*<>|b': 'it has " \\* < > \\? \\|',
    "a\0b": "does not print",
    "a\nb": "does not print",
    "\x7f": "does not print",
    "\ud800": "does not print",
    "\u2028": "does not print",
    "nul": "Windows keeps it",
    "CON.txt": "Windows keeps it",
    "com1 .x": "Windows keeps it",
    "LPT³": "Windows keeps it",
    "x" * 201: "201 bytes; at most 200",
    "é" * 101: "202 bytes; at most 200",
}


@pytest.mark.parametrize(("name", "why"), REFUSED.items(), ids=ascii)
def test_a_name_that_is_none_is_refused_with_the_name(name: str, why: str) -> None:
    with pytest.raises(BadName, match=why) as caught:
        inside(Path("runs"), "fine", name)
    assert str(caught.value).startswith(f"{name[:5]!r}"[:-1])


def test_what_is_no_string_is_no_name() -> None:
    with pytest.raises(BadName, match=r"^5 cannot be .*: it is a int, not a string$"):
        inside(Path("runs"), 5)  # type: ignore[arg-type]


@given(some.lists(some.text(max_size=12) | some.sampled_from(list(REFUSED)), max_size=3))
def test_no_name_leads_out(names: list[str]) -> None:
    root = Path("/runs/here")
    try:
        path = inside(root, *names)
    except BadName:
        return
    assert os.path.normpath(path) == str(path)
    assert path.relative_to(root).parts == tuple(names)


# Writing


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("old\nén\n", b"\0\xff", ""):
        write_whole(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "whole", "")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_it_takes_its_name_when_it_is_on_the_disk_and_the_name_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append(f"{kind} of {os.fstat(descriptor).st_size}" if kind == "file" else kind)
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        done.append(f"named {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "a", b"12345")
    assert done == ["file of 5", "named a", "folder"]


CALLS = {"fsync": os.fsync, "replace": os.replace}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_failure_leaves_what_was_there_and_names_the_file(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_whole(path, "old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=re.escape(f"[Errno {number}]")) as caught:
        write_whole(path, "new")
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")])
def test_whatever_ends_the_writing_leaves_no_part(error: BaseException, tmp_path: Path) -> None:
    def write() -> None:
        with writing(tmp_path / "a") as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/no/a.txt"):
        write_whole(tmp_path / "no" / "a.txt", "")


WRITER = """
import os, sys
from pathlib import Path
from cnnlab.files import write_whole

os.getpid = lambda: 7  # as in two containers
path, letter = Path(sys.argv[1]), sys.argv[2]
for _ in range(40):
    write_whole(path, letter * 100_000)
"""


def test_writers_of_one_number_do_not_meet(tmp_path: Path) -> None:
    """Two containers may each have a process of the same number, at work in a shared folder."""
    path, torn = tmp_path / "a", []
    write_whole(path, "a" * 100_000)
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, letter], cwd=ROOT) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        found = path.read_bytes()
        if found not in (b"a" * 100_000, b"b" * 100_000):
            torn.append(found[:10])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert torn == []
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from cnnlab.files import writing

with writing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    signal.pause()
"""


def test_what_a_killed_process_left_is_swept_when_nobody_can_be_writing_it(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    write_whole(tmp_path / "b", "")
    (part,) = set(tmp_path.iterdir()) - {tmp_path / "b"}
    assert part.read_bytes() == b"half", "another process may still write it"
    hour_ago = time.time() - 3601
    os.utime(part, (hour_ago, hour_ago))
    write_whole(tmp_path / "b", "")
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_many_threads_may_write_one_file(tmp_path: Path) -> None:
    path, failed = tmp_path / "a", []

    def write(letter: str) -> None:
        try:
            for _ in range(50):
                write_whole(path, letter * 1000)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert len(set(path.read_text())) == 1
        time.sleep(0.001)
    assert failed == []
    assert list(tmp_path.iterdir()) == [path]


# Reading

KIND = Format(
    {
        **strict({"step": {"type": "integer", "minimum": 0}, "name": {"type": "string"}}),
        "properties": {
            "step": {"type": "integer", "minimum": 0},
            "name": {"type": "string"},
            "loss": {"type": "number"},
            "inner": strict({"list": {"type": "array", "items": {"type": "number"}}}),
        },
        "additionalProperties": False,
    }
)
GOOD = '{"step": 1, "name": "a"}'
DEEP = '{"step": 1, "name": %s}'
WRONG = {
    "empty": (b"", ", line 1: not JSON: it is empty"),
    "blank": (b" \n ", ", line 2: not JSON: it is empty"),
    "cut short": (b'{"step": 1,\n "na', ", line 2: not JSON: Unterminated string .* at column 2"),
    "two": (f"{GOOD}\n{GOOD}".encode(), ", line 2: not JSON: Extra data at column 1"),
    "NUL bytes": (b"\0" * 99, ": holds NUL bytes, as a power cut may leave them"),
    "NUL inside": (GOOD.encode()[:9] + b"\0\0", ": holds NUL bytes"),
    "other encoding": (b'{"step": 1, "name": "\xe9"}', ": is not text in UTF-8, by byte 21"),
    "UTF-16": (GOOD.encode("utf-16"), ": holds NUL bytes"),
    "byte order mark": (b"\xef\xbb\xbf{}", ", line 1: not JSON: Unexpected UTF-8 BOM"),
    "a list": (b"[1]", r": it must be object, not \[1\]"),
    "a number": (b"5", ": it must be object, not 5"),
    "nothing": (b"null", ": it must be object, not None"),
    "a key lacks": (b'{"step": 1}', ": lacks 'name'"),
    "a key too many": (
        b'{"step": 1, "name": "a", "los": 1}',
        ": unknown key: 'los'; choices: step, name, loss, inner; did you mean 'loss'?",
    ),
    "another type": (b'{"step": "1", "name": "a"}', ": step must be integer, not '1'"),
    "a truth": (b'{"step": true, "name": "a"}', ": step must be integer, not True"),
    "a fraction": (b'{"step": 1.5, "name": "a"}', ": step must be integer, not 1.5"),
    "too small": (b'{"step": -1, "name": "a"}', ": step must be bigger than or equal to 0, not -1"),
    "inside": (
        b'{"step": 1, "name": "a", "inner": {"list": [1, "x"]}}',
        r": inner\.list\[1\] must be number, not 'x'",
    ),
    "lacks inside": (b'{"step": 1, "name": "a", "inner": {}}', ": lacks 'list' in inner"),
    "NaN": (b'{"step": 1, "name": "a", "loss": NaN}', ": NaN is no finite number"),
    "infinite": (b'{"step": 1, "name": "a", "loss": -Infinity}', ": -Infinity is no finite number"),
    "beyond floats": (b'{"step": 1, "name": "a", "loss": 1e999}', ": 1e999 is no finite number"),
    "beyond integers": (
        b'{"step": 9223372036854775808, "name": "a"}',
        ": 922.* too large a number",
    ),
    "thousands of digits": (b'{"step": ' + b"9" * 5000 + b"}", ": 9{40} is too large a number"),
    "deep": ((DEEP % ("[" * 40 + "]" * 40)).encode(), ": nested more than 32 deep"),
    "deeper": ((DEEP % ("[" * 99999)).encode(), ": maximum recursion depth exceeded"),
    "half a character": (b'{"step": 1, "name": "\\ud800"}', ": .*surrogates not allowed"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_file_line_and_expectation(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        KIND.read(path)
    message = str(caught.value)
    assert re.match(re.escape(str(path)) + said.removesuffix("?"), message), message
    assert "\n" not in message
    if b"\n" not in content:
        path.write_bytes(GOOD.encode() + b"\n" + content + b"\n" + GOOD.encode() + b"\n")
        with pytest.raises(BadFile, match=re.escape(f"{path}, line 2: ")):
            KIND.read_lines(path)


def test_what_is_right_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"step": 9223372036854775807, "name": "\\ud83d\\ude00é", "loss": 1e-320}')
    assert KIND.read(path) == {"step": 2**63 - 1, "name": "😀é", "loss": 1e-320}
    nan = Format({}, finite=False).parse('{"a": NaN, "b": -Infinity}', "")
    assert (nan["a"] != nan["a"], nan["b"]) == (True, -float("inf"))


def test_lines_are_counted_and_only_a_journal_may_end_in_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = [{"step": step, "name": "\u2028"} for step in range(3)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in whole)
    for end in (b"", b'{"st', b"\0" * 4096, '{"é'.encode()[:3], b"5"):
        path.write_bytes(text.encode() + end)
        assert KIND.read_lines(path, cut_short=True) == whole
        if end:
            with pytest.raises(BadFile, match=r"a\.jsonl, line 4: "):
                KIND.read_lines(path)
    path.write_text(text.removesuffix("\n"))
    assert KIND.read_lines(path) == whole
    assert KIND.read_lines(path, cut_short=True) == whole[:2]


def test_an_example_is_a_kind() -> None:
    kind = Format.like({"n": 1, "x": 0.5, "t": True, "s": "", "of": [0.5], "any": [], "o": {}})
    fine = {"n": 2, "x": 1, "t": False, "s": "a", "of": [1, 2.5], "any": [1, "a"], "o": {"a": [{}]}}
    for found in ({}, fine):
        kind.check(found, "it")
    for key, value in fine.items():
        others = [other for other in fine if type(fine[other]) is not type(value)]
        for wrong in [None, *(fine[other] for other in others)]:
            if (key, wrong) not in (("x", 2), ("s", "a")):
                with pytest.raises(BadFile, match=f"^it: {key} must be "):
                    kind.check({key: wrong}, "it")
    with pytest.raises(BadFile, match="unknown key: 'm'"):
        kind.check({"m": 1}, "it")


@pytest.mark.parametrize("read", [KIND.read, KIND.read_lines, read_text])
def test_what_the_machine_refuses_stays_its_own(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "no")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)

    def fail(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=re.escape(f"Input/output error: '{tmp_path}/a'")):
        read(tmp_path / "a")


json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner),
)


@given(json_values.map(json.dumps) | some.text() | some.binary())
def test_anything_is_read_or_told(content: str | bytes) -> None:
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    text = raw.decode(errors="replace")
    for kind in (KIND, Format({}), Format({}, finite=False)):
        with suppress(BadFile):
            found = kind.parse(text, "it")
            assert isinstance(found, dict)
            json.dumps(found, ensure_ascii=False).encode()
