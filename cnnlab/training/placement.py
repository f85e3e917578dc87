"""Where and how a run is computed: read off the machine, in this one place.

The recipe knows nothing of it, since it makes no other run. All devices stand along one axis: each
has the whole state and the training set, and takes its share of every batch. What a batch norm
reckons over is the whole batch all the same, or the recipe's groups of it.

The devices may be those of several processes, on as many hosts, that `join` and all do the same.
One of them leads: it alone writes, but for checkpoints, which Orbax writes with all of them.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnnlab.errors import Failure
from cnnlab.machine import cache_folder, cores
from cnnlab.training.recipe import RecipeError


@functools.cache
def mesh() -> Mesh:
    """The devices there are, along the axis `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def everywhere() -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh(), PartitionSpec())


def in_shares() -> NamedSharding:
    """An equal share of the first axis on every device."""
    return NamedSharding(mesh(), PartitionSpec("data"))


def place(array: np.ndarray, sharding: NamedSharding) -> Array:
    """A host's array on the devices."""
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)


def own_rows(batch_size: int) -> np.ndarray:
    """Which rows of a batch in shares are on this process's devices, ascending: int [n]."""
    parts = in_shares().addressable_devices_indices_map((batch_size,)).values()
    every = np.arange(batch_size)
    return np.unique(np.concatenate([every[part] for part in parts if part is not None]))


def share_out(own: np.ndarray, batch_size: int) -> Array:
    """A batch in shares, of which each process has its `own_rows`."""
    rows = own_rows(batch_size)

    def share(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(batch_size)
        first = np.searchsorted(rows, start)
        return own[first : first + stop - start]

    return jax.make_array_from_callback((batch_size, *own.shape[1:]), in_shares(), share)


def decoders() -> int:
    """How many processes decode images for this one: a core each, and one is left to feed devices.

    Where nobody binds processes to cores, `$PJRT_NPROC` tells its share, by which XLA goes as well.
    Each holds two batches; more than 32 would take more memory than they save time.
    """
    share = int(os.environ.get("PJRT_NPROC", 0)) or len(cores())
    return min(share - 1, 32)


@functools.cache
def scalar(number: int) -> Array:
    """An int32 on every device; sent once."""
    return place(np.asarray(number, np.int32), everywhere())


def key_of(seed: int) -> Array:
    """The key of `seed`, on every device."""
    data = np.asarray(jax.random.key_data(jax.random.key(seed)))
    return jax.random.wrap_key_data(place(data, everywhere()))


def join() -> None:
    """Make one of this process and its likes on other hosts; before anything is computed.

    JAX finds the others by itself on Slurm, Kubernetes and Cloud TPUs, else by
    `$JAX_COORDINATOR_ADDRESS` (HOST:PORT), `$JAX_NUM_PROCESSES` and `$JAX_PROCESS_ID`. A process
    takes all devices that it sees, but for Slurm tasks of one host that all see the same GPUs: each
    takes the one of its number there. `$JAX_LOCAL_DEVICE_IDS` (0,1,...) goes first.

    Raises:
        ValueError: nothing says who the others are.
    """
    numbers = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    processes, this = (int(number) if number else None for number in numbers)
    given = os.environ.get("JAX_LOCAL_DEVICE_IDS")
    jax.distributed.initialize(
        num_processes=processes,
        process_id=this,
        local_device_ids=[] if _has_its_own_gpus() and not given else None,  # []: all it sees
    )


def _has_its_own_gpus() -> bool:
    """Whether this is a Slurm task that shares none of the GPUs it sees.

    JAX believes that every task of a host sees them all. One alone there shares none, nor do tasks
    that see fewer than they are: Slurm has dealt them out (`--gpus-per-task`).
    """
    tasks = os.environ.get("SLURM_GTIDS", "")  # of this host: "4,5,6,7"
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", tasks)
    alone = tasks != "" and "," not in tasks
    return alone or seen.count(",") < tasks.count(",")


def leads() -> bool:
    """Whether this is the process that writes; a single one does."""
    return jax.process_index() == 0


def agreed(number: int) -> int:
    """The leader's `number`."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def by_leader(work: Callable[[], int]) -> int:
    """What `work` gives, not negative, done by the leader alone and told to all.

    Raises:
        Exception: what `work` raises, in the leader; Failure in the others, which go no further.
    """
    number, error = -1, None
    try:
        number = work() if leads() else 0
    except BaseException as caught:  # raised again when the others know
        error = caught
    number = agreed(number)
    if error:
        raise error
    if number < 0:
        raise Failure("the first process of those that joined failed; what it printed says why")
    return number


def largest(number: int) -> int:
    """The largest that any process has."""
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def check_shares(batch_size: int) -> None:
    """Refuse a batch that cannot be shared out.

    Raises:
        RecipeError: the devices are no divisor of `batch_size`; names the nearest that goes.
    """
    devices = jax.device_count()
    if batch_size % devices:
        nearest = max(1, round(batch_size / devices)) * devices
        raise RecipeError(
            f"train.batch_size = {batch_size} cannot be shared equally by {devices} devices; "
            f"the nearest that can: {nearest}"
        )


def many_at_once() -> bool:
    """Whether many steps are handed to the device at once, as one program.

    On an accelerator, where Python would be slower than a small network's step. Not on a CPU:
    inside a loop XLA has no fast convolution there.
    """
    return jax.default_backend() != "cpu"


def compiled_quickly() -> dict[str, int]:
    """Compiler options of a program that runs once: less time to compile, the same results.

    On a CPU alone, where the many small programs of an initialisation take LLVM longer than a
    training step does (ResNet-20: 3.5 s, with these 1.4 s).
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def keep_compiled() -> None:
    """Keep compiled programs from one process to the next, in `$XDG_CACHE_HOME/cnnlab/xla`.

    Not those for CPUs: they are tied to the processor's very model, and XLA refuses or worse runs
    another's (jax-ml/jax#38445). `$JAX_COMPILATION_CACHE_DIR`, which JAX reads itself, goes first.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and jax.default_backend() != "cpu":
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
