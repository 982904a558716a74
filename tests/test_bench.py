"""Timing says which stages ran, from what, and adds up."""

from pathlib import Path

import pytest
import torch
from tiny import cut_out, tiny_pipeline

from infinitemesh.bench import _from_views, rendered_views, time_pipeline
from infinitemesh.cli import main
from infinitemesh.errors import GenerationError
from infinitemesh.stages.reconstruction import Reconstruction
from infinitemesh.types import Triplane, ViewSet
from infinitemesh.view_folder import save_views

BACK_HALF = ["reconstruction", "surface", "texturing", "writing the GLB"]


def rows(table: str) -> dict[str, float]:
    return {line[:20].strip(): float(line[20:].split()[0]) for line in table.splitlines()[1:]}


def test_a_photograph_passes_every_stage(tmp_path: Path):
    cut_out().save(tmp_path / "egg.png")
    table = time_pipeline(tiny_pipeline(), photo=tmp_path / "egg.png", repeats=1, batch_size=2)
    assert table.splitlines()[0].endswith("from a photograph, batch of 2, seconds an object")
    found = rows(table)
    assert list(found)[:-3] == ["foreground", "main views", "view interpolation", *BACK_HALF]
    parts = sum(seconds for row, seconds in found.items() if row not in ("in all", "processor time", "peak memory"))
    assert 0.8 * parts < found["in all"] < 1.5 * parts + 0.1
    assert 50 < found["peak memory"] < 10_000


@pytest.mark.parametrize("source", ["folder", "rendered"])
def test_the_back_half_alone_is_timed_from_views(source, tmp_path: Path):
    pipeline, photo = tiny_pipeline(), None
    if source == "folder":
        photo = save_views(rendered_views(4, 32), tmp_path / "views")
    else:
        pipeline = pipeline.with_stages(main_views=None)
    table = time_pipeline(pipeline, photo=photo, repeats=1)
    assert ("from 4 views of 32 x 32" if photo else "from 12 views of 256 x 256") in table
    assert list(rows(table)) == [*BACK_HALF, "in all", "processor time", "peak memory"]


@pytest.mark.parametrize("front_half", [True, False])
def test_everything_is_what_the_pipeline_can_start_from_alone_and_in_a_batch(front_half, tmp_path: Path, capsys):
    pipeline = tiny_pipeline() if front_half else tiny_pipeline().with_stages(main_views=None)
    model = str(pipeline.save_pretrained(tmp_path / "model"))
    assert main(["bench", "--all", "--batch-size", "2", "--repeats", "1", "--model", model, "--device", "cpu"]) == 0
    tables = capsys.readouterr().out.split("\n\n")
    views = [f"from 12 views of 256 x 256, batch of {size}, seconds" for size in (1, 2)]
    photos = [f"from a photograph, batch of {size}, seconds" for size in (1, 2)]
    expected = [views[0], photos[0], views[1], photos[1]] if front_half else views
    assert len(tables) == len(expected) and all(e in t for e, t in zip(expected, tables, strict=True))
    for table in tables:
        found = rows(table)
        parts = sum(found[row.replace("_", " ")] for row in BACK_HALF)
        assert set(BACK_HALF) < set(found) and parts < found["in all"] + 0.01


def test_a_profile_has_the_steps_of_every_stage_and_adds_up(tmp_path: Path):
    cut_out().save(tmp_path / "egg.png")
    table = time_pipeline(tiny_pipeline(), photo=tmp_path / "egg.png", repeats=1, batch_size=2, profile=True)
    lines = table.split("\n\n")[1].splitlines()
    assert lines[0].endswith("batch of 2, one after another, by steps")
    found = {line[:32].rstrip(): float(line[32:].split()[0]) for line in lines[1:]}
    within = {"  largest object", "  flexicubes", "  unwrap", "    pack"}
    assert {"foreground", "surface", "texturing", *within} <= set(found)
    stages = [milliseconds for row, milliseconds in found.items() if not row.startswith(" ") and row != "in all"]
    assert found["in all"] == pytest.approx(sum(stages), abs=0.1 * len(stages))


def test_everything_takes_no_photograph(capsys):
    assert main(["bench", "egg.png", "--all"]) == 1
    assert "leave egg.png away" in capsys.readouterr().err


def test_a_batch_of_views_gives_each_the_mesh_that_it_gets_alone():
    views = rendered_views(4, 32)
    (alone,), _ = _from_views(tiny_pipeline(), views, 1)
    together, seconds = _from_views(tiny_pipeline(), views, 3)
    assert len(together) == 3 and list(seconds) == ["reconstruction", "surface", "texturing"]
    for mesh in together:
        assert torch.equal(mesh.faces, alone.faces)
        torch.testing.assert_close(mesh.vertices, alone.vertices, atol=1e-4, rtol=0)


def test_a_field_without_a_surface_stops_the_timing():
    pipeline = tiny_pipeline()
    empty = Triplane(torch.full((3, 8, 12, 12), float("nan")))
    pipeline = pipeline.with_stages(reconstruction=_Gives(empty))
    with pytest.raises(GenerationError, match="not finite"):
        _from_views(pipeline, rendered_views(4, 32), 2)


class _Gives(Reconstruction):
    def __init__(self, triplane: Triplane):
        super().__init__()
        self.triplane = triplane

    def forward(self, views: ViewSet) -> Triplane:
        return self.triplane


def test_the_rendered_ring_has_its_main_views_at_right_angles():
    views = rendered_views(12, 64)
    assert views.is_main.nonzero()[:, 0].tolist() == [0, 3, 6, 9]
    assert bool((views.alpha.amax((1, 2, 3)) == 1).all()) and not torch.isnan(views.rgb).any()
