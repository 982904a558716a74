"""The chain of real classes at tiny size: seeds, batches, replacement, saving, cancelling, errors."""

import json
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import cut_out, tiny_pipeline

from infinitemesh.bundle import PARTS, arguments, open_network, rebuilt
from infinitemesh.errors import CheckpointError, GenerationError, InputError
from infinitemesh.hub import load_network
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.pipeline import STAGES, InfiniteMeshPipeline, Trace, image_to_mesh, views_to_mesh
from infinitemesh.presets import fresh_pipeline
from infinitemesh.running import save_all
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling
from infinitemesh.stages.main_views import GivenViews, MirrorMainViews
from infinitemesh.stages.reconstruction import Reconstruction, TriplaneReconstruction
from infinitemesh.stages.surface import Surface
from infinitemesh.stages.texturing import VertexColour
from infinitemesh.stages.view_interpolation import NearestView, NoInterpolation, ViewInterpolation, WarpInterpolation
from infinitemesh.types import Camera, Mesh, Triplane, ViewSet

COLOURS = ("red", "green", "blue", "orange")


@pytest.fixture(scope="module")
def trace() -> Trace:
    return tiny_pipeline().trace(cut_out(), seed=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("bundle") / "tiny", dtype=None)


def same(one: Mesh, other: Mesh) -> None:
    for name in ("vertices", "faces", "uv", "texture", "vertex_rgb"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def test_a_photograph_becomes_a_mesh_and_everything_in_between_is_there(trace: Trace):
    assert len(trace.foreground) == 1 and len(trace.main_views) == 4 and len(trace.views) == 12
    torch.testing.assert_close(trace.views.rgb[0], trace.foreground.rgb[0])
    assert trace.surface.texture is None and trace.mesh.texture is not None
    assert len(trace.mesh.faces) == len(trace.surface.faces) <= 400
    assert set(trace.seconds) == set(STAGES)
    made = trace.mesh.metadata["infinitemesh"]
    assert made["seed"] == 3 and made["preset"] == "tiny"
    assert made["stages"]["view_interpolation"]["num_between"] == 2
    assert made["stages"]["surface"]["resolution"] == 16


def test_the_same_seed_writes_the_same_bytes(trace: Trace, tmp_path: Path):
    again = tiny_pipeline().trace(cut_out(), seed=3)
    paths = [t.mesh.save(tmp_path / f"{k}.glb") for k, t in enumerate((trace, again))]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    other = tiny_pipeline().trace(cut_out(), seed=4)
    assert not torch.allclose(other.views.rgb, trace.views.rgb, atol=1e-3)


def test_a_batch_of_four_gives_each_what_it_gets_alone():
    pipeline = tiny_pipeline()
    images = [cut_out(colour) for colour in COLOURS]
    together = pipeline.trace_batch(images, seed=1)
    for image, made in zip(images, together, strict=True):
        alone = pipeline.trace(image, seed=1)
        for name in ("rgb", "alpha"):
            torch.testing.assert_close(getattr(made.views, name), getattr(alone.views, name), atol=1e-4, rtol=0)
        torch.testing.assert_close(made.triplane.planes, alone.triplane.planes, atol=1e-4, rtol=0)
    meshes = pipeline(images[:2], seed=1)
    assert [type(mesh) for mesh in meshes] == [Mesh, Mesh]


def test_objects_that_take_turns_become_the_same_files_with_the_same_progress(monkeypatch, tmp_path: Path):
    images = [cut_out(COLOURS[0]), cut_out(COLOURS[1]).convert("RGB"), *map(cut_out, COLOURS[2:])]
    files, told = {}, {}
    for workers in (1, 3):
        monkeypatch.setattr("infinitemesh.pipeline.workers_on", lambda _, workers=workers: workers)
        told[workers] = steps = []
        traces = tiny_pipeline().try_batch(images, seed=1, on_progress=partial(_tell, steps))
        assert isinstance(traces[1], InputError)
        meshes = [trace.mesh for trace in traces if isinstance(trace, Trace)]
        paths = [tmp_path / f"{workers}_{number}.glb" for number in range(3)]
        save_all(meshes, paths)
        files[workers] = [path.read_bytes() for path in paths]
    assert files[1] == files[3] and told[1] == told[3]


def _tell(steps: list[tuple[str, int, int]], *step: Any) -> None:
    steps.append(step)


@pytest.mark.parametrize("stage", ["foreground", "surface", "texturing"])
def test_objects_that_take_turns_are_cancelled_where_progress_is_told(monkeypatch, stage):
    def cancel(name: str, step: int, total: int) -> None:
        if (name, step) == (stage, 1):
            raise KeyboardInterrupt

    monkeypatch.setattr("infinitemesh.pipeline.workers_on", lambda _: 3)
    with pytest.raises(KeyboardInterrupt):
        tiny_pipeline().trace_batch([cut_out()] * 4, on_progress=cancel)
    assert not any(thread.name.startswith("infinitemesh") for thread in threading.enumerate())


def test_saved_and_loaded_it_makes_the_same_mesh(saved: Path, trace: Trace):
    loaded = InfiniteMeshPipeline.from_pretrained(saved)
    mesh = loaded(cut_out(), seed=3)
    same(mesh, trace.mesh)
    made = mesh.metadata["infinitemesh"]
    assert set(made["weights"]) == {"multiview_unet", "autoencoder", "image_encoder", "reconstruction"}
    assert made["stages"] == trace.mesh.metadata["infinitemesh"]["stages"]


def test_networks_used_twice_are_stored_and_loaded_once(saved: Path):
    folders = sorted(path.name for path in saved.iterdir() if path.is_dir())
    assert folders == ["autoencoder", "image_encoder", "multiview_unet", "reconstruction"]
    loaded = InfiniteMeshPipeline.from_pretrained(saved)
    assert loaded.main_views.diffusion.unet is loaded.view_interpolation.diffusion.unet
    assert loaded.surface.decoders is loaded.reconstruction.network.decoders
    assert len(loaded.networks()) == 4


def test_two_denoisers_have_two_folders(tmp_path: Path, trace: Trace):
    other = fresh_pipeline("tiny", seed=1)
    mixed = tiny_pipeline().with_stages(main_views=other.main_views)
    folder = mixed.save_pretrained(tmp_path / "mixed", dtype=None)
    assert (folder / "multiview_unet").is_dir() and (folder / "multiview_unet_2").is_dir()
    loaded = InfiniteMeshPipeline.from_pretrained(folder)
    made, expected = (p.trace(cut_out(), seed=3) for p in (loaded, mixed))
    torch.testing.assert_close(made.views.rgb, expected.views.rgb)
    assert not torch.allclose(made.main_views.rgb, trace.main_views.rgb, atol=1e-2)


SEMANTICS = dict(semantic_layers=3, semantic_dim=12, semantic_heads=2, semantic_size=28)


def with_single_view() -> InfiniteMeshPipeline:
    """Main views after a network of their own, whose backbone is the reconstruction's."""
    torch.manual_seed(4)
    many = LargeReconstructionModel.preset("tiny", image_size=64, **SEMANTICS).eval()
    single = SingleViewModel.preset("tiny", image_size=64, **SEMANTICS).eval()
    assert single.semantics is not None and many.semantics is not None
    single.semantics.backbone = many.semantics.backbone
    pipeline = tiny_pipeline()
    main_views = rebuilt(pipeline.main_views, coarse=CoarseRenderer(single, second=many, resolution=8))
    read = {name: rebuilt(getattr(pipeline, name), decoders=many.decoders) for name in ("surface", "texturing")}
    return pipeline.with_stages(main_views=main_views, reconstruction=TriplaneReconstruction(many), **read)


def test_a_part_of_two_networks_is_stored_once_and_shared_again(tmp_path: Path):
    pipeline = with_single_view()
    folder = pipeline.save_pretrained(tmp_path / "shared", dtype=None)
    stored = {
        name: set(load_file(folder / name / "diffusion_pytorch_model.safetensors"))
        for name in ("single_view", "reconstruction")
    }
    inside = [sum(key.startswith("semantics.backbone.") for key in keys) for keys in stored.values()]
    assert sorted(map(bool, inside)) == [False, True]
    loaded = InfiniteMeshPipeline.from_pretrained(folder)
    coarse, many = loaded.main_views.coarse, loaded.reconstruction.network
    assert coarse.second is many and coarse.network.semantics.backbone is many.semantics.backbone
    for key, value in pipeline.main_views.coarse.network.state_dict().items():
        assert torch.equal(coarse.network.state_dict()[key], value), key
    for key, value in pipeline.reconstruction.network.state_dict().items():
        assert torch.equal(many.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("shared"), "missing .*semantics.backbone"),
        (lambda d: d.update(shared=["single_view"]), "format 1"),
        (lambda d: _place(d).update(network="../secret"), "letters, digits"),
        (lambda d: _place(d).update(network=next(iter(d["shared"]))), "itself is not whole"),
        (lambda d: _place(d).update(module="semantics.gone"), "has no part 'semantics.gone'"),
        (lambda d: _place(d).update(module="encoder"), "that could be shared"),
        (lambda d: d["stages"]["reconstruction"]["network"].update(network=["x"]), "letters, digits"),
        (lambda d: _parts(d).update({"elsewhere": _place(d)}), "has no part 'elsewhere'"),
    ],
)
def test_what_is_shared_wrongly_is_said(tmp_path: Path, change, says: str):
    folder = with_single_view().save_pretrained(tmp_path / "shared")
    described = json.loads((folder / "pipeline.json").read_text())
    change(described)
    (folder / "pipeline.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=says):
        InfiniteMeshPipeline.from_pretrained(folder)


def test_in_half_precision_every_field_is_read_in_full(tmp_path: Path):
    half = InfiniteMeshPipeline.from_pretrained(with_single_view().save_pretrained(tmp_path / "shared"))
    half.to(dtype=torch.bfloat16)
    coarse = half.main_views.coarse
    assert coarse.network.dtype == torch.bfloat16
    for network in (coarse.network, coarse.second):
        assert all(p.dtype == torch.float32 for p in network.decoders.parameters())


def test_a_network_of_a_pipeline_opens_alone_with_what_it_shares(tmp_path: Path):
    folder = with_single_view().save_pretrained(tmp_path / "shared", dtype=None)
    (name,) = json.loads((folder / "pipeline.json").read_text())["shared"]
    cls = SingleViewModel if name == "single_view" else LargeReconstructionModel
    with pytest.raises(CheckpointError, match="missing"):
        load_network(cls, folder / name)
    assert open_network(cls, folder / name).semantics is not None
    with pytest.raises(CheckpointError, match="is of a MultiViewUNet, not of a SingleViewModel"):
        open_network(SingleViewModel, folder / "multiview_unet")


def test_the_only_true_view_is_told_in_the_frame_of_the_others(trace: Trace):
    mirror, one = MirrorMainViews(), trace.main_views[:1]
    assert mirror.true_views(trace.foreground) is trace.foreground
    for rest in (mirror, None):
        torch.testing.assert_close(GivenViews(one, rest=rest).true_views(trace.foreground).rgb, one.rgb)
    assert len(GivenViews(trace.main_views[:2], rest=mirror).true_views(trace.foreground)) == 2


def _parts(described: dict) -> dict:
    return next(iter(described["shared"].values()))


def _place(described: dict) -> dict:
    return next(iter(_parts(described).values()))


def test_planes_are_in_part_of_the_photograph_alone_and_only_where_the_rest_is_guessed(trace: Trace):
    network = tiny_pipeline().reconstruction.network
    plain, alone = TriplaneReconstruction(network)(trace.views), TriplaneReconstruction(network)(trace.foreground)
    stage = TriplaneReconstruction(network, photograph_share=0.25)
    mixed = stage.from_true(trace.views, trace.foreground)
    torch.testing.assert_close(mixed.planes, torch.lerp(plain.planes, alone.planes, 0.25))
    torch.testing.assert_close(stage(trace.views).planes, plain.planes)

    pipeline = tiny_pipeline().with_stages(reconstruction=stage)
    torch.testing.assert_close(pipeline.trace(cut_out(), seed=3).triplane.planes, mixed.planes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pipeline.trace_views(trace.views).triplane.planes, plain.planes)
    given = pipeline.with_stages(main_views=GivenViews(trace.main_views)).trace(cut_out())
    torch.testing.assert_close(given.triplane.planes, stage(given.views).planes)
    with pytest.raises(InputError, match="photograph_share"):
        TriplaneReconstruction(network, photograph_share=2.0)


def test_half_precision_files_are_half_as_large(saved: Path, tmp_path: Path):
    small = tiny_pipeline().save_pretrained(tmp_path / "half")
    name = "reconstruction/diffusion_pytorch_model.safetensors"
    assert (small / name).stat().st_size < 0.7 * (saved / name).stat().st_size
    assert all(t.dtype != torch.float32 for t in load_file(small / name).values())
    assert next(InfiniteMeshPipeline.from_pretrained(small).parameters()).dtype == torch.float32


def test_the_paper_preset_has_the_published_sizes():
    with torch.device("meta"):
        paper = fresh_pipeline("paper")
    sizes = {n.config["num_views"]: n.num_parameters() for n in paper.networks() if type(n).__name__ == "MultiViewUNet"}
    assert set(sizes) == {4, 2} and set(sizes.values()) == {910_785_284 - 49_599_040}
    assert paper.main_views.diffusion.channels.count(4) == 8
    assert paper.main_views.diffusion.autoencoder is paper.view_interpolation.diffusion.autoencoder
    with pytest.raises(InputError, match=r"no preset 'smal'.*`small`"):
        fresh_pipeline("smal")


class BallSurface(Surface):
    """A researcher's own stage: an octahedron for everything."""

    def forward(self, triplane: Triplane) -> Mesh:
        vertices = torch.cat([torch.eye(3), -torch.eye(3)]) * 0.4
        faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
        return Mesh(vertices, torch.tensor(faces))


def test_any_stage_is_replaced_by_keyword(saved: Path):
    mesh = InfiniteMeshPipeline.from_pretrained(saved, surface=BallSurface())(cut_out())
    assert len(mesh.faces) == 8 and mesh.texture is not None
    assert mesh.metadata["infinitemesh"]["stages"]["surface"] == {"class": "BallSurface"}
    for interpolation, count in ((NoInterpolation(), 4), (WarpInterpolation(num_between=1), 8)):
        changed = tiny_pipeline().with_stages(view_interpolation=interpolation, main_views=MirrorMainViews())
        assert len(changed.trace(cut_out()).views) == count
    with pytest.raises(InputError, match=r"`surfaces`\. Did you mean `surface`"):
        InfiniteMeshPipeline.from_pretrained(saved, surfaces=BallSurface())


def test_a_replaced_stage_needs_none_of_its_weights(saved: Path, tmp_path: Path):
    folder = _copy_without(saved, tmp_path, "multiview_unet")
    pipeline = InfiniteMeshPipeline.from_pretrained(
        folder, main_views=MirrorMainViews(), view_interpolation=NearestView()
    )
    assert len(pipeline(cut_out()).faces) > 100


def test_without_its_front_half_it_loads_takes_views_and_says_what_a_photograph_needs(
    saved: Path, tmp_path: Path, trace: Trace
):
    folder = _copy_without(saved, tmp_path, "multiview_unet")
    pipeline = InfiniteMeshPipeline.from_pretrained(folder)
    same(pipeline.views_to_mesh(trace.views), tiny_pipeline().views_to_mesh(trace.views))
    with pytest.raises(CheckpointError, match=r"needs the stage main_views.*no weights multiview_unet.*views_to_mesh"):
        pipeline(cut_out())
    with pytest.raises(CheckpointError, match=r"interpolate=True.*multiview_unet"):
        pipeline.views_to_mesh(trace.main_views, interpolate=True)
    back = tiny_pipeline().with_stages(foreground=None, main_views=None, view_interpolation=None)
    bare = back.save_pretrained(tmp_path / "bare", dtype=None)
    assert [path.name for path in bare.iterdir() if path.is_dir()] == ["reconstruction"]
    with pytest.raises(CheckpointError, match="bare has no foreground"):
        InfiniteMeshPipeline.from_pretrained(bare)(cut_out())


def test_given_views_take_the_place_of_generated_ones(trace: Trace):
    given = GivenViews(trace.main_views[[0, 2]], rest=None)
    mine = tiny_pipeline().with_stages(main_views=given).trace(cut_out())
    assert len(mine.views) == 6
    torch.testing.assert_close(mine.views.rgb[3], trace.main_views.rgb[2])


def test_views_alone_make_the_same_mesh_as_within_the_chain(trace: Trace):
    pipeline = tiny_pipeline()
    free = pipeline.with_stages(reconstruction=rebuilt(pipeline.reconstruction, hold_outlines=False))
    same(free.views_to_mesh(trace.views), free.trace(cut_out(), seed=3).mesh)
    dense = pipeline.trace_views(trace.main_views, interpolate=True, seed=3)
    assert len(dense.views) == 12 and dense.foreground is None
    given = replace(trace.main_views[[0, 2]], alpha=torch.stack([front := trace.foreground.alpha[0], front.flip(-1)]))
    made = pipeline.trace_views(given, interpolate=True, seed=3)  # the views between are guesses and cut nothing
    assert len(made.views) == 6 and made.triplane.outlines is not None and len(made.triplane.outlines.distances) == 2
    torch.testing.assert_close(dense.views.rgb, trace.views.rgb)


def test_settings_change_a_copy_that_shares_the_networks():
    pipeline = tiny_pipeline()
    changed = pipeline.with_settings(
        steps=1, guidance=2.0, sampler="ddim", num_between=1, trajectory="+30/-30", faces=100, grid=12, texture_size=32
    )
    assert changed.view_interpolation.sampling == Sampling(steps=1, guidance=2.0, sampler="ddim")
    assert changed.main_views.diffusion.unet is pipeline.main_views.diffusion.unet
    made = changed.trace(cut_out())
    assert len(made.views) == 8 and len(made.mesh.faces) <= 100 and made.mesh.texture.shape[-1] == 32
    assert pipeline.main_views.sampling.steps == 2 and pipeline.view_interpolation.num_between == 2
    coloured = pipeline.with_settings(texture_size=0)
    assert isinstance(coloured.texturing, VertexColour) and coloured(cut_out()).vertex_rgb is not None
    assert pipeline.with_settings() is pipeline


def test_settings_of_absent_stages_are_refused():
    bare = tiny_pipeline().with_stages(main_views=MirrorMainViews(), view_interpolation=NoInterpolation())
    with pytest.raises(InputError, match="NoInterpolation has no setting `num_between`"):
        bare.with_settings(num_between=3)
    with pytest.raises(InputError, match="steps: no stage of this pipeline samples"):
        bare.with_settings(steps=3)
    with pytest.raises(InputError, match="has no view_interpolation"):
        bare.with_stages(view_interpolation=None).with_settings(levels=2)


def test_progress_names_every_stage_in_order_and_can_cancel():
    heard = []
    tiny_pipeline().trace(cut_out(), on_progress=lambda *said: heard.append(said))
    assert list(dict.fromkeys(stage for stage, _, _ in heard)) == list(STAGES)
    for stage in STAGES:
        steps = [(step, total) for name, step, total in heard if name == stage]
        assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1]

    class Cancelled(Exception):
        pass

    def stop(stage: str, step: int, total: int) -> None:
        if (stage, step) == ("view_interpolation", 1):
            raise Cancelled

    with pytest.raises(Cancelled):
        tiny_pipeline().trace(cut_out(), on_progress=stop)


def test_intermediates_are_saved_whole_and_views_read_back(trace: Trace, tmp_path: Path):
    from infinitemesh.view_folder import views_from_folder

    folder = trace.save(tmp_path / "all")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("foreground.png", "main_views.png", "views.png", "views"),
        *("surface.glb", "mesh.glb", "turntable.webp", "run.json"),
    }
    assert json.loads((folder / "run.json").read_text())["mesh"]["infinitemesh"]["seed"] == 3
    back = views_from_folder(folder / "views")
    torch.testing.assert_close(back.rgb, trace.views.rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(back.camera.cam_from_world, trace.views.camera.cam_from_world)
    assert back.is_main.tolist() == trace.views.is_main.tolist()
    with pytest.raises(InputError, match="exists already"):
        trace.save(folder)


def test_the_one_liners_load_once_and_agree_with_the_pipeline(saved: Path, trace: Trace):
    same(image_to_mesh(cut_out(), model=saved, seed=3), trace.mesh)
    same(views_to_mesh(trace.views, model=saved), tiny_pipeline().views_to_mesh(trace.views))
    assert len(image_to_mesh(cut_out(), model=saved, faces=80).faces) <= 80
    meshes = image_to_mesh([cut_out(), cut_out()], model=saved, seed=3)
    pipeline = InfiniteMeshPipeline.from_pretrained(saved)
    for mesh, traced in zip(meshes, pipeline.trace_batch([cut_out(), cut_out()], seed=3), strict=True):
        same(mesh, traced.mesh)
    assert image_to_mesh((), model=saved) == []
    with pytest.raises(TypeError, match="face_count"):
        image_to_mesh(cut_out(), model=saved, face_count=80)


def test_half_precision_keeps_the_field_in_full(saved: Path):
    pipeline = InfiniteMeshPipeline.from_pretrained(saved, dtype=torch.bfloat16)
    assert pipeline.main_views.diffusion.unet.dtype == torch.bfloat16
    assert next(pipeline.surface.decoders.parameters()).dtype == torch.float32
    assert len(pipeline(cut_out()).faces) > 100


def test_offloading_to_the_same_device_changes_nothing(saved: Path, trace: Trace):
    pipeline = InfiniteMeshPipeline.from_pretrained(saved).enable_offload("cpu")
    same(pipeline(cut_out(), seed=3), trace.mesh)


def test_in_a_batch_an_error_says_whose_it_is():
    with pytest.raises(InputError, match=r"object 2 of 3: .*no transparent pixel"):
        tiny_pipeline()([cut_out(), cut_out().convert("RGB"), cut_out()])


def test_one_view_and_broken_views_are_refused(trace: Trace):
    pipeline = tiny_pipeline()
    with pytest.raises(InputError, match="got 1 view, at least 2"):
        pipeline.views_to_mesh(trace.views[:1])
    broken = replace(trace.views, rgb=trace.views.rgb.clone())
    broken.rgb[5, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="rgb of view 5 holds NaN"):
        pipeline.views_to_mesh(broken)
    with pytest.raises(InputError, match="view 2, 4 shows no object"):
        blank = trace.views.alpha.clone()
        blank[[2, 4]] = 0
        pipeline.views_to_mesh(replace(trace.views, alpha=blank))


def test_an_empty_field_is_a_generation_error(trace: Trace):
    class Nothing(Reconstruction):
        def forward(self, views: ViewSet) -> Triplane:
            return replace(trace.triplane, planes=torch.full_like(trace.triplane.planes, 50.0))

    with pytest.raises(GenerationError):
        tiny_pipeline().with_stages(reconstruction=Nothing()).views_to_mesh(trace.views)


def _copy_without(folder: Path, into: Path, network: str) -> Path:
    import shutil

    copy = Path(shutil.copytree(folder, into / "copy"))
    shutil.rmtree(copy / network)
    return copy


def _damaged(folder: Path, into: Path, change) -> Path:
    import shutil

    copy = Path(shutil.copytree(folder, into / "copy"))
    described = json.loads((copy / "pipeline.json").read_text())
    change(copy, described)
    (copy / "pipeline.json").write_text(json.dumps(described))
    return copy


def _truncated(copy: Path, described: dict) -> None:
    file = copy / "reconstruction" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def _reshaped(copy: Path, described: dict) -> None:
    file = copy / "reconstruction" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    save_file(tensors | {name: torch.zeros(3)}, file)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda copy, d: d["stages"]["surface"].update({"class": "FlexiCubeSurface"}),
            "Did you mean `FlexiCubesSurface`",
        ),
        (
            lambda copy, d: d["stages"]["surface"].update(resolutoin=3),
            "no setting `resolutoin`. Did you mean `resolution`",
        ),
        (lambda copy, d: d["stages"]["surface"].update(coarse_stride=3), "cannot be built .*must divide"),
        (lambda copy, d: d["stages"]["surface"]["decoders"].update(module="synthesizer.gone"), "has no part"),
        (lambda copy, d: d["stages"]["reconstruction"]["network"].update(network="../secret"), "letters, digits"),
        (lambda copy, d: d["stages"]["reconstruction"]["network"].update(network="elsewhere"), "holds no network"),
        (lambda copy, d: d.update(format=99), "format 1"),
        (lambda copy, d: d["stages"].update(extra={}), "no stage `extra`"),
        (lambda copy, d: d["stages"].pop("texturing"), "describes no stage 'texturing'"),
        (_truncated, "damaged"),
        (_reshaped, "shape"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong(saved: Path, tmp_path: Path, change, says: str):
    folder = _damaged(saved, tmp_path, change)
    with pytest.raises(CheckpointError, match=says):
        InfiniteMeshPipeline.from_pretrained(folder)


def test_what_is_no_pipeline_is_said(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no weights called 'nowhere'"):
        InfiniteMeshPipeline.from_pretrained("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no pipeline folder"):
        InfiniteMeshPipeline.from_pretrained(tmp_path / "empty")


class Odd(ViewInterpolation):
    def __init__(self, strength: float = 0.5):
        super().__init__()

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return reference


def test_a_stage_of_ones_own_cannot_be_named_by_a_folder(tmp_path: Path):
    with pytest.raises(InputError, match="Odd is not one of the parts"):
        tiny_pipeline().with_stages(view_interpolation=Odd()).save_pretrained(tmp_path / "mine")
    assert not (tmp_path / "mine").exists() and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="does not keep its constructor's argument `strength`"):
        rebuilt(Odd(), strength=0.7)


def test_every_part_of_the_registry_exists_and_keeps_what_it_was_built_from():
    from importlib import import_module

    for name, module in PARTS.items():
        assert isinstance(getattr(import_module(module), name), type), name
    for stage in STAGES:
        assert arguments(getattr(tiny_pipeline(), stage)) is not None
