"""What the command line's commands do. Each returns the line to print when it is done."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from infinitemesh.errors import InfiniteMeshError, InputError
from infinitemesh.files import atomic_folder, atomic_write, check_output
from infinitemesh.images import check_image
from infinitemesh.stages.base import OnProgress, silent
from infinitemesh.types import Camera, Mesh

Settings = dict[str, Any]


def mesh(
    *,
    inputs: Sequence[Path],
    given: Sequence[tuple[float, Path]] | None,
    out: Path,
    interpolate: bool,
    save_intermediates: Path | None,
    turntable: Path | None,
    batch_size: int,
    overwrite: bool,
    **rest: Any,
) -> str:
    """Photographs, a folder of views, or given views at azimuths -> meshes."""
    if given and inputs:
        raise InputError("give photographs or --view AZIMUTH=PICTURE, not both")
    if not given and not inputs:
        raise InputError("nothing to do: give a photograph, a folder of views, or --view AZIMUTH=PICTURE")
    if len(inputs) > 1:
        return _mesh_folder(inputs, out, batch_size, overwrite, save_intermediates or turntable, rest)
    _check_mesh_output(out, overwrite)
    if turntable is not None:
        from infinitemesh.render.turntable import check_turntable

        check_turntable(turntable)
        check_output(turntable, overwrite=overwrite)
    if save_intermediates is not None:
        check_output(save_intermediates, overwrite=overwrite, folder=True)
    is_folder = not given and inputs[0].is_dir()
    if interpolate and not is_folder:
        raise InputError("--interpolate is for a folder of views; photographs are always interpolated (--num-between)")
    if not given:
        _check_exists(inputs[0])
    for picture in () if is_folder else [picture for _, picture in given or ()] or inputs:
        check_image(picture)  # weights take seconds to load
    with _progress(rest.pop("quiet")) as on_progress:
        seed = rest.pop("seed")
        pipeline = _pipeline(rest)
        if is_folder:
            from infinitemesh.view_folder import views_from_folder

            matte = None if pipeline.foreground is None else pipeline.foreground.matte
            views = views_from_folder(inputs[0], matte=matte)
            trace = pipeline.trace_views(views, interpolate=interpolate, seed=seed, on_progress=on_progress)
        elif given:
            trace = _trace_given(pipeline, given, seed, on_progress)
        else:
            trace = pipeline.trace(inputs[0], seed, on_progress=on_progress)
    if save_intermediates is not None:
        trace.save(save_intermediates, overwrite=overwrite)
    if turntable is not None:
        trace.mesh.turntable(turntable, overwrite=overwrite)
    trace.mesh.save(out, overwrite=overwrite)
    return f"{out}: {len(trace.mesh.faces):,} triangles in {sum(trace.seconds.values()):.1f} s"


def views(*, photo: Path, out: Path, overwrite: bool, quiet: bool, seed: int, **rest: Any) -> str:
    """A photograph -> a folder of the views around the object, which `mesh` reads."""
    from infinitemesh.view_folder import save_views

    check_image(photo)
    check_output(out, overwrite=overwrite, folder=True)
    with _progress(quiet) as on_progress:
        made = _pipeline(rest).photo_to_views(photo, seed, on_progress=on_progress)
    save_views(made, out, overwrite=overwrite)
    return f"{out}: {len(made)} views"


def render(
    *,
    mesh: Path,
    out: Path,
    azimuth: Sequence[float],
    elevation: Sequence[float],
    perspective: bool,
    size: int,
    frames: int,
    overwrite: bool,
) -> str:
    """A mesh -> a turntable, or a sheet of pictures."""
    check_output(out, overwrite=overwrite)
    loaded = Mesh.load(mesh)
    if out.suffix.lower() != ".png":
        loaded.turntable(out, frames=frames, size=size, overwrite=overwrite)
        return f"{out}: {frames} frames"
    if len(elevation) not in (1, len(azimuth)):
        raise InputError(f"{len(azimuth)} azimuths came with {len(elevation)} elevations; give one, or one each")
    elevations = list(elevation) * (len(azimuth) if len(elevation) == 1 else 1)
    camera = Camera.orbit(list(azimuth), elevations, projection="perspective" if perspective else "orthographic")
    with atomic_write(out, overwrite=overwrite) as temporary:
        loaded.normalized().render(camera, size).grid(columns=min(len(azimuth), 4)).save(temporary)
    return f"{out}: {len(azimuth)} pictures"


def evaluate(
    *,
    protocol: str,
    more: Sequence[Path],
    data: Path | None,
    out: Path | None,
    settings: Sequence[str],
    baselines: bool,
    readme: Path,
    workers: int | None,
    batch_size: int | None,
    ray: bool,
    cache: Path | None,
    lpips: str | None,
    device: str,
    seed: int,
    resume: bool,
    overwrite: bool,
    pipeline: str | None,
    objects: Sequence[str] | None,
    **system: Any,
) -> str:
    """Results by a named protocol or of a recipe, a README's tables, tables of finished folders; returns a report."""
    from infinitemesh.evaluate.command import evaluate_command, tables_command
    from infinitemesh.evaluate.jobs import RunOptions, default_batch_size, default_workers
    from infinitemesh.evaluate.lpips import net_or_file

    if protocol == "tables":
        return tables_command(more, out=out, overwrite=overwrite)
    if out is None:
        raise InputError("evaluate writes a folder of results: give --out")
    device = _device(device)
    net, weights = net_or_file(lpips)
    options = RunOptions(
        workers=workers or default_workers(device),
        batch_size=batch_size or default_batch_size(device),
        cache=cache,
        lpips=net,
        lpips_weights=weights,
        device=device,
        seed=seed,
        resume=resume,
    )
    with _progress(False) as on_progress:
        if protocol in ("recipe", "readme"):
            from infinitemesh.evaluate.readme import readme_command
            from infinitemesh.evaluate.recipes import run_recipe

            if settings or baselines or ray or any(system[name] for name in ("meshes", "name")):
                raise InputError("a recipe's rows name their meshes, settings and baselines: change its file")
            shared: dict[str, Any] = {"pipeline": pipeline, "objects": objects, "options": options}
            if protocol == "readme":
                return readme_command(more, data=data, out=out, readme=readme, on_progress=on_progress, **shared)
            if len(more) != 1:
                raise InputError(f"`evaluate recipe` takes one file, got {len(more)}")
            run_recipe(more[0], data, out, on_progress=on_progress, **shared)
            return (out / "table.md").read_text(encoding="utf-8")
        if more:
            raise InputError(f"unexpected {more[0]}: data come with --data, finished meshes with --meshes")
        return evaluate_command(
            protocol,
            data=data,
            out=out,
            pipeline=pipeline,
            settings=settings,
            with_baselines=baselines,
            on_ray=ray,
            objects=objects,
            options=options,
            on_progress=on_progress,
            **system,
        )


def convert(*, kind: str, source: Path, out: Path, without_cross_domain: bool, fusion: Any, overwrite: bool) -> str:
    """A public checkpoint under our names; its licence is told."""
    from infinitemesh.convert import instantmesh, wonder3d, zero123
    from infinitemesh.convert.checkpoint import read_checkpoint
    from infinitemesh.hub import save_network

    check_output(out, overwrite=overwrite, folder=True)
    if without_cross_domain and kind != "wonder3d":
        raise InputError(f"--without-cross-domain is for wonder3d; a checkpoint of {kind} has no such layers")
    if fusion is not None and kind != "instantmesh":
        raise InputError(f"--fusion is for instantmesh; {kind} makes views and has no place for it")
    if kind == "wonder3d":
        unet = wonder3d.read_wonder3d_unet(source, cross_domain=not without_cross_domain)
        save_network(unet, out, overwrite=overwrite)
        return f"{out}: MultiViewUNet\n{wonder3d.LICENCE}"
    if kind == "instantmesh":
        network = instantmesh.network_from_instantmesh(read_checkpoint(source), fusion_reading=fusion)
        save_network(network, out, overwrite=overwrite)
        return f"{out}: LargeReconstructionModel\n{instantmesh.LICENCE}"
    unet, projection = zero123.zero123_networks(read_checkpoint(source))
    with atomic_folder(out, overwrite=overwrite) as temporary:
        save_network(unet, temporary / "multiview_unet")
        save_network(projection, temporary / "pose_projection")
    return f"{out}: MultiViewUNet and PoseProjection"


def bench(
    *,
    photo: Path | None,
    repeats: int,
    batch_size: int | None,
    everything: bool,
    profile: bool,
    fresh: bool,
    **rest: Any,
) -> str:
    """Seconds of every stage and the peak memory, after one run that is not counted."""
    from infinitemesh.bench import BATCH_SIZE, time_everything, time_pipeline

    if everything and photo is not None:
        raise InputError(f"--all brings its own views and photograph: leave {photo} away, or --all")
    if fresh:
        from infinitemesh.presets import fresh_pipeline

        pipeline = fresh_pipeline(rest["model"])
        _onto_machine(pipeline, rest)
    else:
        pipeline = _pipeline(rest)
    if everything:
        return time_everything(pipeline, repeats=repeats, batch_size=batch_size or BATCH_SIZE, profile=profile)
    return time_pipeline(pipeline, photo=photo, repeats=repeats, batch_size=batch_size or 1, profile=profile)


def demo(*, port: int, **rest: Any) -> str:
    """Serves the page until it is stopped."""
    from infinitemesh.demo import demo_page, gradio

    gradio()  # before weights are loaded
    demo_page(_pipeline(rest)).launch(server_name="127.0.0.1", server_port=port)
    return ""


def _mesh_folder(
    photos: Sequence[Path], out: Path, batch_size: int, overwrite: bool, extra: Path | None, rest: Settings
) -> str:
    """Several photographs: a mesh each, named as the photograph; what could not be used is told at the end."""
    if extra is not None:
        raise InputError("--save-intermediates and --turntable are for a single photograph")
    folders = [photo for photo in photos if photo.is_dir()]
    if folders:
        raise InputError(f"{folders[0]} is a folder: give one folder of views, or photographs")
    names = [photo.stem for photo in photos]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"several photographs are called {sorted(twice)[0]!r}; their meshes would overwrite each other"
        )
    if out.suffix:
        raise InputError(f"{len(photos)} photographs need a folder for their meshes, got the file {out}")
    out.mkdir(parents=True, exist_ok=True)
    targets = [out / f"{name}.glb" for name in names]
    for target in targets:
        check_output(target, overwrite=overwrite)
    from infinitemesh.running import save_all
    from infinitemesh.trace import Trace

    seed = rest.pop("seed")
    with _progress(rest.pop("quiet")) as on_progress:
        pipeline = _pipeline(rest)
        failed = []
        for begin in range(0, len(photos), batch_size):
            some = slice(begin, begin + batch_size)
            traces = pipeline.try_batch(photos[some], seed, on_progress=on_progress)
            of_target = zip(targets[some], traces, strict=True)
            made = {target: trace.mesh for target, trace in of_target if isinstance(trace, Trace)}
            save_all(list(made.values()), list(made), overwrite=overwrite)
            failed += [
                f"{photo}: {trace}"
                for photo, trace in zip(photos[some], traces, strict=True)
                if isinstance(trace, InfiniteMeshError)
            ]
    if failed:
        raise InputError(f"{len(failed)} of {len(photos)} photographs made no mesh:\n  " + "\n  ".join(failed))
    return f"{out}: {len(photos)} meshes"


def _trace_given(pipeline, given: Sequence[tuple[float, Path]], seed: int, on_progress: OnProgress):
    from infinitemesh.stages.main_views import GivenViews, given_views

    if pipeline.foreground is None:
        raise InputError("given pictures are cut out by the stage foreground, which this pipeline lacks")
    azimuths = [azimuth % 360 for azimuth, _ in given]
    if len(set(azimuths)) < len(azimuths):
        raise InputError(f"two pictures stand at one azimuth: {sorted(azimuths)}")
    pictures = {azimuth % 360: pipeline.foreground(picture) for azimuth, picture in given}
    placed = given_views(pictures)
    stage = GivenViews(placed, rest=pipeline.main_views)
    return pipeline.with_stages(main_views=stage).trace_front(placed[:1], seed, on_progress=on_progress)


def _pipeline(rest: Settings):
    """The pipeline of --model on the asked machine with the asked settings; takes what it uses out of `rest`."""
    from infinitemesh.pipeline import InfiniteMeshPipeline

    model = rest.pop("model")
    machine = {name: rest.pop(name) for name in ("device", "dtype", "compile", "offload")}
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    return _onto_machine(pipeline, machine).with_settings(**rest)


def _onto_machine(pipeline, machine: Settings):
    device = _device(machine["device"])
    dtype = getattr(torch, machine["dtype"])
    pipeline.to(None if machine["offload"] else device, None if dtype == torch.float32 else dtype)
    if machine["offload"]:
        pipeline.enable_offload(device)
    return pipeline.compile() if machine["compile"] else pipeline


def _device(name: str) -> str:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"--device {name}: this torch sees no CUDA device; use --device cpu, or install torch for CUDA"
        )
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_mesh_output(out: Path, overwrite: bool) -> None:
    """Before minutes of work, what would fail after them."""
    from infinitemesh.geometry.mesh_io import SUFFIXES

    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out} cannot be written: the suffix must be one of {', '.join(SUFFIXES)}")
    check_output(out, overwrite=overwrite)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise InputError(f"no file or folder at {path}")


@contextmanager
def _progress(quiet: bool) -> Iterator[OnProgress]:
    """One bar a stage on stderr."""
    if quiet:
        yield silent
        return
    bars: dict[str, tqdm] = {}

    def show(stage: str, step: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total, desc=stage.replace("_", " "), leave=True)
        bar = bars[stage]
        bar.total, bar.n = total, step
        bar.refresh()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()
