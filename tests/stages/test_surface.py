import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.geometry.report import mesh_report
from infinitemesh.geometry.surface_extraction import extract_surface
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.render.outlines import Outlines
from infinitemesh.stages.surface import FlexiCubesSurface, SurfaceDecoders, TriplaneField
from infinitemesh.types import Camera, Triplane, ViewSet

CHANNELS = 4


def blob(radius: float = 0.6, *, seed: int = 0) -> tuple[FieldDecoders, Triplane]:
    """Planes that hold squared coordinates, and decoders whose distance is |x|^2 - radius^2; the rest is random."""
    at = (torch.arange(32) + 0.5) / 16 - 1
    row, column = torch.meshgrid(at, at, indexing="ij")
    planes = torch.stack([column.square(), row.square(), torch.ones_like(row), row]).expand(3, -1, -1, -1)
    torch.manual_seed(seed)
    decoders = FieldDecoders(channels=CHANNELS, hidden=8, padding="border")
    with torch.no_grad():
        for layer in decoders.net_sdf:
            if isinstance(layer, nn.Linear):
                layer.weight.zero_()
        first, second, third, last = (m for m in decoders.net_sdf if isinstance(m, nn.Linear))
        for channel in (0, 1, 4):  # x and y squared from the first plane, then z squared: row of the second
            first.weight[0, channel if channel < 4 else 5] = 1.0
        second.weight[0, 0] = third.weight[0, 0] = last.weight[0, 0] = 1.0
        last.bias.fill_(-(radius**2))
    return decoders, Triplane(planes.contiguous(), half_extent=0.9)


def test_a_triplane_becomes_a_closed_mesh_in_world_units():
    decoders, triplane = blob()
    mesh = FlexiCubesSurface(decoders, resolution=32, target_faces=None)(triplane)
    report = mesh_report(mesh)
    assert report.watertight and report.manifold and report.euler_number == 2
    radii = mesh.vertices.norm(dim=-1)
    assert_close(radii, torch.full_like(radii, 0.6 * 0.9), atol=0.5 * 2 * 0.9 / 32, rtol=0)
    assert_close(report.volume, 4 / 3 * torch.pi * 0.54**3, rtol=0.03, atol=0)


@pytest.mark.parametrize("coarse_stride", [1, 4])
def test_a_level_moves_the_surface_to_that_distance(coarse_stride):
    decoders, triplane = blob()
    surface = FlexiCubesSurface(decoders, resolution=32, target_faces=None, level=0.13, coarse_stride=coarse_stride)
    radii = surface(triplane).vertices.norm(dim=-1)
    assert_close(radii, torch.full_like(radii, 0.7 * 0.9), atol=0.5 * 2 * 0.9 / 32, rtol=0)  # 0.36 + 0.13 = 0.7^2


def drawn_outlines(camera: Camera, radius: float, size: int = 128) -> Outlines:
    """Of a ball about the middle."""
    origin, direction = camera.rays(size)
    off = torch.linalg.cross(origin, direction).norm(dim=-1)[:, None]
    alpha = ((radius - off) * size / 1.8 + 0.5).clamp(0, 1)
    return Outlines.of(ViewSet(alpha.expand(-1, 3, -1, -1), alpha, camera, torch.ones(len(alpha), dtype=torch.bool)))


@pytest.mark.parametrize("frame", ["gltf", "instantmesh"])
@pytest.mark.parametrize("coarse_stride", [1, 4])
def test_a_field_that_is_too_large_is_cut_at_the_outlines_and_left_where_none_passes(coarse_stride, frame):
    decoders, triplane = blob(0.6)  # 0.54 world units
    camera = Camera.orbit([0.0, 90.0])  # bound x and y, and z and y
    bounded = replace(triplane, outlines=drawn_outlines(camera, 0.4), frame=frame)
    surface = FlexiCubesSurface(decoders, resolution=48, target_faces=None, coarse_stride=coarse_stride)
    mesh = surface(bounded)
    assert mesh_report(mesh).watertight and mesh.metadata["surface"]["outlines"] is True
    pixel = 1.8 / 128
    for axes in ([0, 1], [2, 1]):
        assert_close(mesh.vertices[:, axes].norm(dim=-1).max(), torch.tensor(0.4), atol=pixel, rtol=0)
    assert mesh.vertices[:, [0, 2]].norm(dim=-1).max() > 0.45  # no view looks along y
    masks, distances = mesh.render(camera, 128).alpha > 0.5, bounded.outlines.distances * 128
    assert distances[masks].max() < 1 and distances[~masks].min() > -1


def test_outlines_add_to_the_level_and_do_not_shrink_what_is_inside_them():
    decoders, triplane = blob()
    options = {"resolution": 32, "target_faces": None}
    wide = replace(triplane, outlines=drawn_outlines(Camera.orbit([0.0, 90.0]), 0.7))
    plain = FlexiCubesSurface(decoders, level=0.13, **options)(triplane)
    held = FlexiCubesSurface(decoders, level=0.05, level_in_outlines=0.08, **options)(wide)
    assert torch.equal(held.vertices, plain.vertices) and torch.equal(held.faces, plain.faces)
    assert plain.metadata["surface"]["outlines"] is False
    without = FlexiCubesSurface(decoders, level_in_outlines=0.13, **options)(triplane)
    assert torch.equal(without.vertices, FlexiCubesSurface(decoders, **options)(triplane).vertices)


def test_the_grid_may_be_larger_than_the_planes():
    decoders, triplane = blob()
    mesh = FlexiCubesSurface(decoders, resolution=32, grid_scale=1.05)(triplane)
    assert_close(mesh_report(mesh).volume, 4 / 3 * torch.pi * 0.54**3, rtol=0.03, atol=0)


def test_the_budget_is_met_and_the_work_is_told():
    decoders, triplane = blob()
    surface = FlexiCubesSurface(decoders, resolution=24, target_faces=500)
    mesh = surface(triplane)
    assert mesh_report(mesh).watertight and 400 <= len(mesh.faces) <= 500
    told = mesh.metadata["surface"]
    assert told["faces"] == len(mesh.faces) < told["faces_extracted"]
    assert (told["resolution"], told["components"], told["components_dropped"]) == (24, 1, 0)


def test_the_stage_is_the_extraction_of_its_field():
    decoders, triplane = blob()
    mesh = FlexiCubesSurface(decoders, resolution=16, target_faces=None)(triplane)
    raw = extract_surface(TriplaneField(decoders, triplane.planes), 16)
    assert_close(mesh.vertices, raw.vertices.detach() * 0.9)
    assert torch.equal(mesh.faces, raw.faces)
    assert not mesh.vertices.requires_grad


def test_real_decoders_give_the_same_mesh_from_surface_cubes_and_coarse_to_fine():
    decoders, triplane = blob()
    field = TriplaneField(decoders, triplane.planes)
    with torch.no_grad():
        whole = extract_surface(field, 16, weighted_cubes="all")
        for options in ({}, {"coarse_stride": 4}):
            part = extract_surface(field, 16, **options)
            assert torch.equal(part.vertices, whole.vertices) and torch.equal(part.faces, whole.faces)


def test_training_reaches_every_decoder_and_the_planes():
    decoders, triplane = blob()
    planes = triplane.planes.clone().requires_grad_()
    surface = extract_surface(TriplaneField(decoders, planes), 12, training=True)
    (surface.vertices.square().sum() + surface.regularity.total()).backward()
    assert planes.grad.abs().max() > 0
    for net in (decoders.net_sdf, decoders.net_deformation, decoders.net_weight):
        assert net[-1].weight.grad.abs().max() > 0


def test_half_precision_planes_work():
    decoders, triplane = blob()
    mesh = FlexiCubesSurface(decoders, resolution=16)(replace(triplane, planes=triplane.planes.bfloat16()))
    assert mesh.vertices.dtype == torch.float32 and mesh_report(mesh).watertight


def test_an_empty_field_is_an_error():
    decoders, triplane = blob()
    with torch.no_grad():
        decoders.net_sdf[-1].bias.fill_(1.0)
    with pytest.raises(GenerationError, match="empty, outside everywhere"):
        FlexiCubesSurface(decoders, resolution=8)(triplane)


def test_the_library_s_decoders_fit_and_bad_strides_are_told_early():
    assert isinstance(FieldDecoders(channels=CHANNELS), SurfaceDecoders)
    with pytest.raises(InputError, match="must divide the resolution 128, got 5"):
        FlexiCubesSurface(FieldDecoders(channels=CHANNELS), coarse_stride=5)


MEASURE = """
import resource, torch
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.stages.surface import FlexiCubesSurface
from infinitemesh.types import Triplane
import manifold3d, scipy.sparse.csgraph
torch.manual_seed(0)
torch.set_num_threads(1)
decoders = FieldDecoders(channels=80)
coarse = torch.randn(3, 80, 5, 5)
planes = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic")
with torch.no_grad():
    decoders.net_sdf[-1].bias -= decoders.sdf(planes[None], torch.rand(1, 4096, 3) * 2 - 1).median()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
mesh = FlexiCubesSurface(decoders, resolution=128, grid_scale=1.05)(Triplane(planes))
print(mesh.metadata["surface"]["surface_cubes"], peak() - before)
"""


@pytest.mark.slow
def test_the_published_sizes_stay_under_1500_megabytes():
    """128^3 cubes, 240 features a point, 1920 a cube; a random field has several times a real object's surface."""
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    cubes, megabytes = map(float, answer.split())
    assert cubes > 50_000
    assert megabytes < 1500
