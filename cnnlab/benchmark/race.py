"""Contenders take turns, A B C A B C ..., job by job; what comes out is one JSON-like dict."""

import datetime
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from typing import Any

from cnnlab.benchmark.contenders import CONTENDERS, Racer
from cnnlab.benchmark.suite import Job
from cnnlab.benchmark.tasks import CannotTakePart
from cnnlab.errors import Mistake
from cnnlab.machine import cores

MIN_ROUNDS = 3
ROW_SECONDS = 12.0
"""After the fewest rounds a row goes on for no longer than this."""


class UnequalNetworks(Mistake):
    """Contenders whose networks have different numbers of weights: times would say nothing."""


def race(
    suite: Callable[[str], Sequence[Job]], *, threads: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Time every job with every contender there is.

    Args:
        suite: gives the jobs for JAX's platform.
        threads: cores to use, the same for each contender.
        rounds: turns of each contender, fewer (at least 3) where a row takes long.
        seconds: of one turn at least, in which a job is done over and over.

    Returns:
        `date`, `machine`, `settings`, `contenders`, `skipped` (name to reason), `rows`. Of a row:
        `part`, `name`, `detail`, `batch`, `what`, `flops`, `weights`, and by contender `compile`
        (seconds), `seconds` (a list, one number a round) and `failed` (why).

    Raises:
        UnequalNetworks: contenders disagree on how many weights a network has.
    """
    load = os.getloadavg()[0]
    _take_cores(threads)
    with ExitStack() as stack:
        racers, skipped, facts = _line_up(stack, threads)
        jobs = suite(facts["platform"])
        rows: list[dict[str, Any]] = []
        for job, row in zip(jobs, _rows(racers, jobs, rounds, seconds), strict=True):
            print(f"{len(rows) + 1}/{len(jobs)} {_line(job, row)}", file=sys.stderr, flush=True)
            rows.append(row)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            **facts,
            "threads": threads,
            "cores": os.cpu_count(),
            "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
            "load": load,
        },
        "settings": {"rounds": rounds, "seconds": seconds},
        "contenders": [racer.name for racer in racers],
        "skipped": skipped,
        "rows": rows,
    }


def _take_cores(threads: int) -> None:
    """XLA makes a thread for each core that it may use; Linux can say which they are."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])


def _line_up(stack: ExitStack, threads: int) -> tuple[list[Racer], dict[str, str], dict[str, Any]]:
    """Start the contenders; those that cannot take part are in the second, with the reason."""
    racers: dict[str, Racer] = {}
    skipped: dict[str, str] = {}
    facts: dict[str, Any] = {}
    for contender in CONTENDERS:
        if importlib.util.find_spec(contender.package) is None:
            skipped[contender.name] = f"{contender.package} is not installed"
            continue
        racer = stack.enter_context(closing(Racer(contender, threads)))
        try:
            facts = racer.facts(facts.get("platform")) | facts
            if contender.other_than and racer.program() == racers[contender.other_than].program():
                raise CannotTakePart(f"compiles the same programs as {contender.other_than}")
        except CannotTakePart as error:
            skipped[contender.name] = str(error)
            racer.close()
        else:
            racers[contender.name] = racer
    return list(racers.values()), skipped, facts


def _rows(
    racers: Sequence[Racer], jobs: Sequence[Job], rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
    for job in jobs:
        subject = job.subject
        row: dict[str, Any] = {
            "part": job.part,
            "name": subject.name,
            "detail": subject.detail,
            "batch": job.batch,
            "what": job.what,
            "flops": job.flops,
        }
        yield row | run_job(racers, job, rounds, seconds)


def run_job(racers: Sequence[Racer], job: Job, rounds: int, seconds: float) -> dict[str, Any]:
    """Prepare a job with each contender, then time it in turn.

    Raises:
        UnequalNetworks: contenders disagree on how many weights it has.
    """
    prepared, failed = {}, {}
    for racer in racers:
        try:
            prepared[racer] = racer.prepare(job, seconds)
        except BrokenProcessPool:
            raise
        except Exception as error:  # such as no memory: the others go on
            failed[racer.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    weights = {racer.name: ready.weights for racer, ready in prepared.items()}
    if len(set(weights.values())) > 1:
        raise UnequalNetworks(f"{job.subject.name} has another number of weights: {weights}")
    times: dict[str, list[float]] = {racer.name: [] for racer in prepared}
    start = time.perf_counter()
    for i in range(rounds):
        if i >= MIN_ROUNDS and time.perf_counter() - start > ROW_SECONDS:
            break
        for racer, ready in prepared.items():
            times[racer.name].append(racer.turn(ready.calls))
    return {
        "weights": next(iter(weights.values()), None),
        "compile": {racer.name: ready.compile_seconds for racer, ready in prepared.items()},
        "seconds": times,
        "failed": failed,
    }


def _line(job: Job, row: dict[str, Any]) -> str:
    found = ", ".join(
        f"{name} {1000 * min(times):.2f} ms" for name, times in row["seconds"].items()
    )
    return f"{job.subject.name}, batch {job.batch}, {job.what}: {found}"
