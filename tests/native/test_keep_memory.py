"""What a process holds after `keep_memory`, asked of a process of its own."""

import json
import subprocess
import sys

import pytest

MIB = 2**20
SCRIPT = """
import ctypes, json, threading, time
import jax.numpy
from cnnlab.native import memory

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def filled(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

memory.SECONDS = 0.2
memory.keep_memory()
memory.keep_memory()
square = jax.jit(lambda x: x @ x)
square(jax.numpy.ones((1500, 1500)))
product = square(jax.numpy.ones((1500, 1500)))
inline = product.is_ready()  # asynchronous, it would take some 30 ms
buffer = filled(256 * 2**20)
behind = filled(64 * 2**20)  # more than any free piece before it
used = held()
libc.free(buffer)
kept = held()
time.sleep(1)
left = held()
libc.free(behind)
time.sleep(1)
print(json.dumps({
    "used": used, "kept": kept, "left": left, "end": held(),
    "threads": [each.name for each in threading.enumerate()].count("trim memory"),
    "inline": inline,
}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    if not sys.platform.startswith("linux"):
        pytest.skip("glibc's memory")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def test_a_freed_buffer_is_kept_for_the_next_and_its_hole_returned(found: dict[str, int]) -> None:
    assert found["kept"] > found["used"] - 16 * MIB
    assert found["left"] < found["used"] - 240 * MIB
    assert found["end"] > found["left"] - 16 * MIB, "what is free at the heap's end stays"


def test_one_thread_returns_and_who_calls_a_program_runs_it(found: dict[str, int]) -> None:
    assert found["threads"] == 1
    assert found["inline"]
