"""Timing says which stages ran, from what, and adds up."""

from pathlib import Path

import pytest
import torch
from tiny import cut_out, tiny_pipeline

from infinitemesh.bench import rendered_views, time_pipeline
from infinitemesh.errors import InputError
from infinitemesh.view_folder import save_views

BACK_HALF = ["reconstruction", "surface", "texturing", "writing the GLB"]


def rows(table: str) -> dict[str, float]:
    return {line[:20].strip(): float(line[20:].split()[0]) for line in table.splitlines()[1:]}


def test_a_photograph_passes_every_stage(tmp_path: Path):
    cut_out().save(tmp_path / "egg.png")
    table = time_pipeline(tiny_pipeline(), photo=tmp_path / "egg.png", repeats=1, batch_size=2)
    assert table.splitlines()[0].endswith("batch of 2, seconds an object")
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


def test_a_batch_of_views_is_refused():
    with pytest.raises(InputError, match="one object at a time, got a batch size of 3"):
        time_pipeline(tiny_pipeline().with_stages(foreground=None), repeats=1, batch_size=3)


def test_the_rendered_ring_has_its_main_views_at_right_angles():
    views = rendered_views(12, 64)
    assert views.is_main.nonzero()[:, 0].tolist() == [0, 3, 6, 9]
    assert bool((views.alpha.amax((1, 2, 3)) == 1).all()) and not torch.isnan(views.rgb).any()
