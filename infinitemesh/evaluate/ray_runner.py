"""An evaluation over several machines with ray (the `batch` extra): the same records, so the same result.

Every machine sees the same paths (a shared file system), as ray's own data does.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infinitemesh.errors import MissingBackend
from infinitemesh.evaluate.jobs import Job, RunOptions, Task, lpips_of
from infinitemesh.evaluate.protocol import Protocol, load_protocol
from infinitemesh.evaluate.records import Record, read_record
from infinitemesh.evaluate.results import Result, write_result
from infinitemesh.evaluate.runner import check_kind, find_cases, prepare
from infinitemesh.evaluate.systems import System, ViewSystem


def run_protocol_on_ray(
    protocol: Protocol | str | Path,
    system: System | ViewSystem,
    data: str | Path | None,
    out: str | Path,
    *,
    objects: Sequence[str] | None = None,
    options: RunOptions = RunOptions(),
    gpus_per_task: float | None = None,
) -> Result:
    """As `runner.run_protocol`; `options.batch_size` objects are one task. The system is sent to every machine.

    A task asks for one GPU where the options' device is one, unless `gpus_per_task` says otherwise.
    """
    ray = _ray()
    if gpus_per_task is None:
        gpus_per_task = 1.0 if options.device.startswith("cuda") else 0.0
    protocol = protocol if isinstance(protocol, Protocol) else load_protocol(protocol)
    check_kind(protocol, system)
    lpips_of(options)
    out = prepare(out).resolve()
    cases = find_cases(protocol, data, out, objects, options)
    job = Job(system, out, options)
    done: dict[str, Record] = {}
    tasks = []
    for case in cases:
        key = job.key(case)
        record = read_record(out, case.name, key) if options.resume else None
        if record is None:
            tasks.append(Task(replace(case), key))
        else:
            done[case.name] = record
    remote = ray.remote(num_gpus=gpus_per_task)(_work)
    size = options.batch_size
    pending = [remote.remote(job, tasks[first : first + size]) for first in range(0, len(tasks), size)]
    while pending:
        ready, pending = ray.wait(pending)
        done |= {record.object: record for records in ray.get(ready) for record in records}
    result = Result.of(protocol, system.name, [done[case.name] for case in cases], options)
    write_result(result, out)
    return result


def _work(job: Job, tasks: Sequence[Task]) -> list[Record]:
    return job.make_and_measure(tasks)


def _ray():
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingBackend("evaluating on several machines needs ray: pip install 'infinitemesh[batch]'") from error
    if not ray.is_initialized():
        ray.init()
    return ray
