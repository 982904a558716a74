"""`infinitemesh evaluate`: a protocol on one system, a recipe of many, a README's tables, tables of finished folders.

infinitemesh evaluate crm30 --data objects --meshes other_system/ --out results/other
infinitemesh evaluate crm30 --data objects --pipeline small --set view_interpolation=NoInterpolation --out results/a
infinitemesh evaluate ivi --data objects --pipeline small --baselines --out results/ivi
infinitemesh evaluate recipe configs/evaluate/interpolation.yaml --data objects --out results/ablation
infinitemesh evaluate readme --data objects --out results --readme README.md
infinitemesh evaluate tables results/a results/other --out results/tables.md
"""

from collections.abc import Sequence
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.overrides import parse_overrides
from infinitemesh.evaluate.protocol import Protocol, load_protocol
from infinitemesh.evaluate.ray_runner import run_protocol_on_ray
from infinitemesh.evaluate.results import read_result
from infinitemesh.evaluate.runner import run_protocol
from infinitemesh.evaluate.systems import FinishedMeshes, Frame, PipelineSystem, System, ViewSystem
from infinitemesh.evaluate.tables import markdown_report
from infinitemesh.evaluate.view_systems import PipelineViews, baselines
from infinitemesh.files import write_text
from infinitemesh.stages.base import OnProgress, silent


def evaluate_command(
    protocol: str,
    *,
    data: Path | None = None,
    out: Path,
    pipeline: str | None = None,
    meshes: Path | None = None,
    settings: Sequence[str] = (),
    name: str | None = None,
    frame: Frame = "world",
    with_baselines: bool = False,
    on_ray: bool = False,
    objects: Sequence[str] | None = None,
    options: RunOptions = RunOptions(),
    on_progress: OnProgress = silent,
) -> str:
    """Measures one system and returns the report in Markdown; the folder `out` holds everything.

    Args:
        protocol: name or .yaml file.
        data: folder of true meshes (not for `synthetic`).
        out: folder for the results; run the same command again to go on after an interruption.
        pipeline: preset, folder or hub id of a pipeline.
        meshes: folder of finished meshes, named as the true ones; instead of a pipeline.
        settings: `stage.setting=value`, of the pipeline.
        name: of the system, in tables.
        frame: of finished meshes: `world` (as the truth) or `photo` (the photograph is their front).
        with_baselines: also measures what the protocol's views must beat without a network.
        on_ray: share the objects out over the machines of a ray cluster, a GPU a task where the device is one.
        objects: some of the data's objects, by name.
        options: workers, cache, LPIPS, device.
        on_progress: called with ("evaluate", done, total).
    """
    found = load_protocol(protocol)
    systems: list[System | ViewSystem] = []
    if pipeline is not None or meshes is not None:
        systems.append(
            make_system(
                found, pipeline=pipeline, meshes=meshes, settings=settings, name=name, frame=frame, options=options
            )
        )
    if with_baselines:
        if not baselines(found.name):
            raise InputError(f"{found.name} has no baselines; mainviews, orbit12 and ivi have")
        systems += baselines(found.name)
    if not systems:
        raise InputError("nothing to measure: give a pipeline, a folder of meshes, or ask for the baselines")
    results = []
    for system in systems:
        folder = out if len(systems) == 1 else out / folder_name(system.name)
        if on_ray:
            results.append(run_protocol_on_ray(found, system, data, folder, objects=objects, options=options))
        else:
            results.append(
                run_protocol(found, system, data, folder, objects=objects, options=options, on_progress=on_progress)
            )
    report = markdown_report(results)
    if len(systems) > 1:
        write_text(out / "table.md", report, overwrite=True)
    return report


def tables_command(folders: Sequence[Path], *, out: Path | None = None, overwrite: bool = False) -> str:
    """The Markdown report of finished result folders, one section a protocol; also written to `out`."""
    report = markdown_report([read_result(folder) for folder in folders])
    if out is not None:
        write_text(out, report, overwrite=overwrite)
    return report


def make_system(
    protocol: Protocol,
    *,
    pipeline: str | None = None,
    meshes: Path | None = None,
    settings: Sequence[str] = (),
    name: str | None = None,
    frame: Frame = "world",
    options: RunOptions = RunOptions(),
) -> System | ViewSystem:
    if (pipeline is None) == (meshes is None):
        raise InputError("give either a pipeline or a folder of finished meshes")
    if meshes is not None:
        if settings:
            raise InputError("--set changes a pipeline; finished meshes have no settings")
        return FinishedMeshes(meshes, frame=frame, name=name)
    assert pipeline is not None
    cls = PipelineSystem if protocol.views is None else PipelineViews
    return cls(pipeline, parse_overrides(settings), device=options.device, seed=options.seed, name=name)


def folder_name(system: str) -> str:
    """A system's name as a folder's: letters, digits, dots and dashes."""
    plain = "".join(c if c.isalnum() or c in ".-+" else "-" for c in system.strip())
    return "-".join(part for part in plain.split("-") if part.strip(".")) or "system"
