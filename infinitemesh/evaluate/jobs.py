"""The work on some objects of one evaluation: make, measure, keep the record. Runs here, in a worker, or elsewhere."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from infinitemesh.errors import InfiniteMeshError, InputError
from infinitemesh.evaluate.cost import measured_cost
from infinitemesh.evaluate.lpips import Lpips, LpipsNet, load_lpips
from infinitemesh.evaluate.measure import Measured, check_finite, measure_failure, measure_mesh
from infinitemesh.evaluate.measure_views import load_views, measure_no_views, measure_views, save_views
from infinitemesh.evaluate.pictures import save_strip
from infinitemesh.evaluate.records import Failure, Record, record_key, write_record
from infinitemesh.evaluate.systems import FinishedMeshes, Frame, Measurable, System, ViewSystem, in_world, placing
from infinitemesh.evaluate.truth import Case
from infinitemesh.types import Mesh, ViewSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a protocol is run. Only `lpips` and `seed` change what is measured, and a result names both.

    Another batch size or device changes the last digits of networks, and with them those of their results.
    A weights file is one of LPIPS-squeeze, so `lpips_weights` alone asks for it.
    """

    workers: int = 1
    batch_size: int = 1  # objects that a system makes at once
    cache: Path | None = None  # of the truth's samples, occupancy and pictures
    lpips: LpipsNet | None = None
    lpips_weights: Path | None = None
    device: str = "cpu"  # of renderings and LPIPS
    seed: int = 0
    resume: bool = True

    def __post_init__(self) -> None:
        if self.workers < 1 or self.batch_size < 1:
            raise InputError(f"workers and batch size start at 1, got {self.workers} and {self.batch_size}")
        if self.lpips is None and self.lpips_weights is not None:
            object.__setattr__(self, "lpips", "squeeze")


def default_workers(device: str) -> int:
    """With a GPU the main process makes the next objects while others measure; on a CPU the user says how many."""
    return min(4, os.cpu_count() or 1) if device.startswith("cuda") else 1


def default_batch_size(device: str) -> int:
    return 8 if device.startswith("cuda") else 1


@dataclass(frozen=True)
class Task:
    """One object to do, and the key of everything that its record depends on."""

    case: Case
    key: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a system made of one object: a file, or a failure."""

    path: Path | None = None
    mesh_path: Path | None = None  # of the mesh that was made from views, for their consistency
    failure: Failure | None = None
    frame: Frame = "world"
    seconds: float = 0.0
    peak_mib: float = 0.0


@dataclass(frozen=True)
class Job:
    """One system, where its results go, and how they are measured; `system` None can only measure."""

    system: Measurable | None
    out: Path
    options: RunOptions

    def key(self, case: Case) -> str:
        assert self.system is not None
        weights = self.options.lpips_weights
        lpips = [str(self.options.lpips), "" if weights is None else weights.name]
        parts = [case.protocol.sha256, case.truth.sha256, self.system.fingerprint(case), str(case.seed), *lpips]
        return record_key([case.name, *parts])

    def make_and_measure(self, tasks: Sequence[Task]) -> list[Record]:
        assert self.system is not None
        if not self.system.parallel:
            return self.measure(tasks, self.make(tasks))
        with one_thread():
            made = self.make(tasks)
        return self.measure(tasks, made)

    def make(self, tasks: Sequence[Task]) -> list[Made]:
        """The system's results on disk. Where a batch fails, each of its objects is tried alone."""
        system = self.system
        assert system is not None
        if isinstance(system, FinishedMeshes):
            return [_found(system, task.case) for task in tasks]
        frame: Frame = system.frame if isinstance(system, System) else "world"
        cases = [task.case for task in tasks]
        with measured_cost(system.device) as cost:
            try:
                results = _results(system, cases)
            except Exception as error:  # a system's own code: whatever it raises is a failure to report
                if len(tasks) > 1:
                    return [self.make([task])[0] for task in tasks]
                log.exception("%s", cases[0].name)
                return [Made(failure=Failure.of(error))]
        share = cost.seconds / len(cases)
        return [
            self._stored(case, result, Made(frame=frame, seconds=share, peak_mib=cost.peak_mib))
            for case, result in zip(cases, results, strict=True)
        ]

    def _mesh_from(self, case: Case, views: ViewSet) -> Mesh | None:
        rule = case.protocol.views
        if rule is None or not rule.consistency or not isinstance(self.system, ViewSystem):
            return None
        return self.system.mesh_from(views)

    def measure(self, tasks: Sequence[Task], made: Sequence[Made]) -> list[Record]:
        with one_thread():
            return [self._measured(task, one) for task, one in zip(tasks, made, strict=True)]

    def _measured(self, task: Task, made: Made) -> Record:
        measured, failure = self._scores(task.case, made)
        record = Record(
            object=task.case.name,
            key=task.key,
            metrics=measured.metrics,
            per_view=measured.per_view,
            failure=failure,
            notes=measured.notes,
            health=measured.health,
            alignment=measured.alignment,
            seconds=made.seconds,
            peak_mib=made.peak_mib,
        )
        save_strip(self.out / "pictures" / f"{task.case.name}.png", task.case, measured)
        write_record(self.out, record)
        return record

    def _scores(self, case: Case, made: Made) -> tuple[Measured, Failure | None]:
        lpips = lpips_of(self.options)
        try:
            _ = case.mesh
        except InfiniteMeshError as error:
            return Measured({}), Failure(kind="truth", message=str(error))
        if made.path is None:
            return _scores_of_nothing(case, lpips), made.failure
        try:
            if case.protocol.views is not None:
                mesh = None if made.mesh_path is None else Mesh.load(made.mesh_path)
                return measure_views(load_views(made.path), case, lpips=lpips, mesh=mesh), None
            return _mesh_scores(Mesh.load(made.path), case, made.frame, lpips), None
        except Exception as error:  # one object's error must not end the evaluation of the others
            log.exception("%s", case.name)
            return _scores_of_nothing(case, lpips), Failure.of(error)

    def _stored(self, case: Case, result: Mesh | ViewSet | InfiniteMeshError, made: Made) -> Made:
        """The result as a file, which is what is measured: what cannot be written is no result."""
        folder = self.out / "made"
        if isinstance(result, InfiniteMeshError):
            return Made(failure=Failure.of(result))
        try:
            if isinstance(result, ViewSet):
                made = replace(made, path=save_views(result, folder / f"{case.name}.npz"))
                mesh = self._mesh_from(case, result)
                if mesh is None:
                    return made
                return replace(made, mesh_path=mesh.save(folder / f"{case.name}.glb", overwrite=True))
            return replace(made, path=check_finite(result).save(folder / f"{case.name}.glb", overwrite=True))
        except InfiniteMeshError as error:
            return replace(made, failure=Failure.of(error))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in torch depend on the number of threads; results should not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _results(system: Measurable, cases: Sequence[Case]) -> Sequence[Mesh | ViewSet | InfiniteMeshError]:
    if isinstance(system, System):
        return system.meshes_of(cases)
    assert isinstance(system, ViewSystem)
    return system.views_of_all(cases)


def _found(system: FinishedMeshes, case: Case) -> Made:
    try:
        return Made(path=system.file_of(case), frame=system.frame)
    except InfiniteMeshError as error:
        return Made(failure=Failure.of(error))


def _mesh_scores(mesh: Mesh, case: Case, frame: Frame, lpips: Lpips | None) -> Measured:
    measured = measure_mesh(in_world(mesh, case, frame), case, lpips=lpips)
    placed = placing(case, frame) if case.protocol.framed else None
    if placed is None:
        return measured
    return replace(measured, alignment={**measured.alignment, "photo_from_truth": placed.as_dict()})


def _scores_of_nothing(case: Case, lpips: Lpips | None) -> Measured:
    return (
        measure_no_views(case, lpips=lpips) if case.protocol.views is not None else measure_failure(case, lpips=lpips)
    )


def lpips_of(options: RunOptions) -> Lpips | None:
    """The asked network, loaded once a process; raises what is wrong with it, so ask before long work."""
    return None if options.lpips is None else _loaded(options.lpips, options.lpips_weights, options.device)


@lru_cache(maxsize=2)
def _loaded(net: LpipsNet, weights: Path | None, device: str) -> Lpips:
    return load_lpips(net, weights=weights).to(device)
