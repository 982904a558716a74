"""Runs a protocol: makes every object's result, measures it, and writes a folder that says all of it.

    out/
      objects/NAME.json    one record an object: written when it is done, used again while nothing it depends on changed
      made/NAME.glb|.npz   what the system made: a mesh, or views (finished meshes are measured where they lie)
      pictures/NAME.png    truth above, result below
      result.json, objects.csv, table.md, table.tex, sheet.png

Measuring is single-threaded, and so are systems that may be copied into workers: their number changes no result.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.jobs import Job, RunOptions, Task, lpips_of
from infinitemesh.evaluate.protocol import Protocol, load_protocol
from infinitemesh.evaluate.records import Record, read_record, write_record
from infinitemesh.evaluate.results import Result, write_result
from infinitemesh.evaluate.synthetic import write_synthetic
from infinitemesh.evaluate.systems import Measurable, System, ViewSystem
from infinitemesh.evaluate.truth import Case, TruthCache, list_truth
from infinitemesh.files import write_bytes
from infinitemesh.stages.base import OnProgress, silent

log = logging.getLogger(__name__)


def run_protocol(
    protocol: Protocol | str | Path,
    system: System | ViewSystem,
    data: str | Path | None,
    out: str | Path,
    *,
    objects: Sequence[str] | None = None,
    options: RunOptions = RunOptions(),
    on_progress: OnProgress = silent,
    pool: Executor | None = None,
    finished: Sequence[Path] = (),
) -> Result:
    """Measures `system` on the objects of the folder `data` and writes the folder `out`.

    `objects` asks for some of them by name, and the result says so. Raises InputError for a protocol, folder or name
    that does not exist; an object that goes wrong is a failure in the result, never an error here. `pool`: of
    `workers(options)`, where several protocols are run after one another. `finished`: folders of other runs, from which
    a record is taken over where everything that it depends on is the same.
    """
    protocol = protocol if isinstance(protocol, Protocol) else load_protocol(protocol)
    check_kind(protocol, system)
    lpips_of(options)
    out = prepare(out)
    cases = find_cases(protocol, data, out, objects, options)
    done: dict[str, Record] = {}
    for record in run_cases(Job(system, out, options), cases, pool, finished):
        done[record.object] = record
        on_progress("evaluate", len(done), len(cases))
    result = Result.of(protocol, system.name, [done[case.name] for case in cases], options)
    write_result(result, out)
    return result


def check_kind(protocol: Protocol, system: Measurable) -> None:
    makes_views = isinstance(system, ViewSystem)
    if (protocol.views is not None) != makes_views:
        needed, given = ("views", "meshes") if protocol.views is not None else ("meshes", "views")
        raise InputError(f"{protocol.label} measures {needed}, but {system.name} makes {given}")
    system.check(protocol)


def prepare(out: str | Path) -> Path:
    out = Path(out)
    for folder in ("objects", "made", "pictures"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    return out


def find_cases(
    protocol: Protocol, data: str | Path | None, out: Path, objects: Sequence[str] | None, options: RunOptions
) -> list[Case]:
    if protocol.source == "synthetic":
        data = write_synthetic(out / "truth")
    if data is None:
        raise InputError(f"{protocol.label} needs a folder of true meshes")
    cache = TruthCache(options.cache)
    truth = list_truth(data, objects or protocol.objects)
    return [Case(item, protocol, cache, options.device, options.seed) for item in truth]


def run_cases(
    job: Job, cases: Sequence[Case], pool: Executor | None = None, finished: Sequence[Path] = ()
) -> Iterator[Record]:
    """Records as they are finished; stored ones, where nothing changed, come first."""
    assert job.system is not None
    tasks = []
    for case in cases:
        key = job.key(case)
        record = _known(job, case.name, key, finished) if job.options.resume else None
        if record is None:
            tasks.append(Task(case, key))
        else:
            yield record
    size = job.options.batch_size
    groups = [tasks[first : first + size] for first in range(0, len(tasks), size)]
    if job.options.workers == 1 or not tasks:
        for group in groups:
            yield from job.make_and_measure(group)
        return
    with workers(job.options, most=len(tasks)) if pool is None else nullcontext(pool) as pool:
        assert pool is not None
        futures: list[Future[list[Record]]] = []
        if job.system.parallel:
            futures = [pool.submit(job.make_and_measure, [_light(task) for task in group]) for group in groups]
        else:
            measuring = replace(job, system=None)  # the system stays here, the workers measure
            for group in groups:  # and while it makes the next objects they measure these
                for task, made in zip(group, job.make(group), strict=True):
                    futures.append(pool.submit(measuring.measure, [_light(task)], [made]))
        for future in as_completed(futures):
            yield from future.result()


@contextmanager
def workers(options: RunOptions, *, most: int | None = None) -> Iterator[Executor | None]:
    """Processes that start when the first work comes; None where one worker, this process, is asked for."""
    if options.workers == 1:
        yield None
        return
    count = min(options.workers, most or options.workers)
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def _known(job: Job, name: str, key: str, finished: Sequence[Path]) -> Record | None:
    for folder in (job.out, *finished):
        record = read_record(folder, name, key)
        if record is None:
            continue
        if folder != job.out:
            for path in (*folder.glob(f"made/{name}.*"), folder / "pictures" / f"{name}.png"):
                if path.is_file():
                    write_bytes(job.out / path.relative_to(folder), path.read_bytes(), overwrite=True)
            write_record(job.out, record)
        return record
    return None


def _light(task: Task) -> Task:
    """Without what the case has loaded: it crosses to another process."""
    return Task(replace(task.case), task.key)
