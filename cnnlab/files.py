"""Files: written whole, JSON read with a word for what is wrong, names that stay in their folder.

A file that cannot be understood is a `BadFile`, a mistake of whoever wrote it. What the machine
refuses (no such file, no permission, a disk that is full or fails) stays an OSError.
"""

import functools
import json
import os
import reprlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from cnnlab.errors import Mistake, unknown

_PARTIAL = ".partial-"
_ABANDONED = 3600.0
"""Seconds after which a file that is half-written is nobody's."""
_LONGEST = 200
"""Bytes of a name: file systems take 255, and endings are added to names."""
_PORTS = (port + digit for port in ("COM", "LPT") for digit in "0123456789¹²³")
_DEVICES = {"CON", "PRN", "AUX", "NUL", *_PORTS}
"""What Windows takes for a device, whatever the case and the ending."""
_DEEPEST = 32
"""Levels of a JSON document: any file of this project has fewer."""


class BadFile(Mistake):
    """A file that does not hold what it should; the message begins with its path and line."""


class BadName(Mistake):
    """A name that cannot be that of a folder everywhere, or would lead out of the one it is for."""


def inside(root: Path, *names: str) -> Path:
    """The path of `names`, each in the one before, under `root`, which it cannot leave.

    Raises:
        BadName: a name is empty, longer than 200 bytes, `..` or another that ends in a dot or a
            space, has a separator or a character that does not print, or is one that Windows keeps
            for itself.
    """
    for name in names:
        if why := _unfit(name):
            raise BadName(f"{reprlib.repr(name)} cannot be the name of a folder: {why}")
    return root.joinpath(*names)


def _unfit(name: object) -> str:
    """What is wrong with a name; nothing if it will do."""
    if not isinstance(name, str):
        return f"it is a {type(name).__name__}, not a string"
    if not name.isprintable():
        return "it has a character that does not print"
    if taken := sorted(set(name) & set('/\\<>:"|?*')):
        return f"it has {' '.join(taken)}"
    if name != name.rstrip(". ") or not name:
        return "it is empty, or ends in a dot or a space"
    if name.partition(".")[0].rstrip().upper() in _DEVICES:
        return "Windows keeps it for a device"
    size = len(name.encode())
    return f"it has {size} bytes; at most {_LONGEST} will do" if size > _LONGEST else ""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text in UTF-8) so that a reader, a kill or a power cut finds it whole or not.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its name when all of it is on the disk; as `write_whole`."""
    with named(path):
        _sweep(path.parent)
        partial, file = _begin(path.parent)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        sync(path.parent)


def _begin(folder: Path) -> tuple[Path, IO[bytes]]:
    """A new file that nobody else has.

    `tempfile` would make one that only its owner can read, and so would the file be in the end.
    """
    partial = folder / f"{_PARTIAL}{secrets.token_hex(8)}"
    return partial, partial.open("xb")


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written: nobody writes a file for so long."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        with suppress(OSError):  # another process swept it
            if time.time() - partial.stat().st_mtime > _ABANDONED:
                partial.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    with named(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str:
    """A file of text.

    Raises:
        BadFile: it is not UTF-8, or holds NUL bytes.
        OSError: it cannot be read.
    """
    return _decoded(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        OSError: it cannot be read; names the file.
    """
    with named(path):
        return path.read_bytes()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Make an OSError name the file: those of reading, writing and `fsync` do not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and _PARTIAL in str(error.filename or _PARTIAL):
            error.filename = os.fspath(path)
        raise


def _decoded(content: bytes, where: str) -> str:
    if b"\0" in content:
        raise BadFile(f"{where}: holds NUL bytes, as a power cut may leave them")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadFile(f"{where}: is not text in UTF-8, by byte {error.start}") from error


class Format:
    """What JSON of one kind holds: an object that a JSON schema describes.

    Numbers are finite, unless `finite` is False, and whole ones have 64 bits at most.
    """

    def __init__(self, schema: Mapping[str, Any], *, finite: bool = True):
        self.schema = {"type": "object", **schema}
        self._finite = finite

    @classmethod
    def like(cls, example: Mapping[str, Any]) -> Self:
        """Objects with the keys and types of an example, none of which need be there.

        An empty object of the example stands for any, an empty list for any list.
        """
        return cls(_schema_of(example))

    def read(self, path: Path) -> dict[str, Any]:
        """The object in a file.

        Raises:
            BadFile: it holds none of this kind; says where, and what was expected.
            OSError: it cannot be read.
        """
        return self._parsed(read_text(path), str(path))

    def read_lines(self, path: Path, *, cut_short: bool = False) -> list[dict[str, Any]]:
        """The objects in a file, one a line; a last line without its end is dropped if `cut_short`.

        Raises:
            BadFile, OSError: as `read`.
        """
        *lines, rest = read_bytes(path).split(b"\n")
        if rest and not cut_short:
            lines.append(rest)
        places = [f"{path}, line {number}" for number in range(1, len(lines) + 1)]
        return [
            self._parsed(_decoded(line, place), place, "")
            for line, place in zip(lines, places, strict=True)
        ]

    def parse(self, text: str, where: str) -> dict[str, Any]:
        """The object in a text.

        Raises:
            BadFile: as `read`; begins with `where`.
        """
        return self._parsed(text, where)

    def check(self, found: object, where: str) -> None:
        """Refuse what is not of this kind.

        Raises:
            BadFile: as `parse`.
        """
        import fastjsonschema

        try:
            self._checker(found)
        except fastjsonschema.JsonSchemaValueException as error:
            raise BadFile(f"{where}: {_worded(error)}") from None

    @functools.cached_property
    def _checker(self) -> Any:
        import fastjsonschema

        return fastjsonschema.compile(self.schema, use_default=False, use_formats=False)

    def _parsed(self, text: str, where: str, line: str = ", line {}") -> dict[str, Any]:
        try:
            found = json.loads(
                text, parse_int=_integer, parse_float=self._number, parse_constant=self._number
            )
            _check_depth(found)
            if "\\ud" in text.lower():
                json.dumps(found, ensure_ascii=False).encode()  # half a pair could not be written
        except json.JSONDecodeError as error:
            place = where + line.format(error.lineno)
            what = f"{error.msg} at column {error.colno}" if text.strip() else "it is empty"
            raise BadFile(f"{place}: not JSON: {what}") from None
        except (ValueError, RecursionError) as error:
            raise BadFile(f"{where}: {error}") from None
        self.check(found, where)
        whole: dict[str, Any] = found
        return whole

    def _number(self, text: str) -> float:
        found = float(text)
        if self._finite and found - found != 0:
            raise ValueError(f"{text[:40]} is no finite number")
        return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"{text[:40]} is too large a number")
    return int(text)


def _check_depth(found: object) -> None:
    level, depth = [found], 0
    while level:
        if (depth := depth + 1) > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} deep")
        level = [inner for outer in level for inner in _parts(outer)]


def _parts(outer: object) -> list[object]:
    if isinstance(outer, dict):
        return list(outer.values())
    return outer if isinstance(outer, list) else []


def strict(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that has all of these properties, and perhaps others."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schema_of(example: object) -> dict[str, Any]:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if isinstance(example, Mapping):
        properties = {key: _schema_of(value) for key, value in example.items()}
        return {"type": "object", "properties": properties, "additionalProperties": not properties}
    if isinstance(example, list | tuple):
        return {"type": "array", "items": _schema_of(example[0]) if example else {}}
    return {"type": kinds[type(example)]}


def _worded(error: Any) -> str:
    """What a JSON document has at a place, and what was expected there."""
    place = error.name.removeprefix("data").removeprefix(".")
    inner = f" in {place}" if place else ""
    if error.rule == "required":
        lacking = [key for key in error.rule_definition if key not in error.value]
        return f"lacks {', '.join(map(repr, lacking))}{inner}"
    if error.rule == "additionalProperties":
        known = error.definition["properties"]
        strange = next(key for key in error.value if key not in known)
        return unknown(f"key{inner}", strange[:60], known)
    expected = error.message.removeprefix(error.name).strip()
    return f"{place or 'it'} {expected}, not {reprlib.repr(error.value)}"
