from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.bundle import rebuilt
from infinitemesh.render.outlines import Outlines
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.types import Camera, ViewSet
from tests.tiny import tiny_pipeline


def ball_views(radius: float = 0.4, azimuths=(0.0, 90.0, 180.0, 270.0)) -> ViewSet:
    at = ((torch.arange(64) + 0.5) / 64 - 0.5) * 1.8
    off = torch.hypot(at[:, None], at)
    alpha = ((radius - off) * 64 / 1.8 + 0.5).clamp(0, 1).expand(len(azimuths), 1, -1, -1)
    is_main = torch.ones(len(azimuths), dtype=torch.bool)
    return ViewSet(torch.rand(1, 3, 64, 64).expand(len(azimuths), -1, -1, -1), alpha, Camera.orbit(azimuths), is_main)


def contradicting(views: ViewSet) -> ViewSet:
    """The first view shows the object higher than the others do."""
    return replace(views, alpha=torch.cat([views.alpha[:1].roll(-8, dims=2), views.alpha[1:]]))


@pytest.fixture
def stage() -> TriplaneReconstruction:
    reconstruction = tiny_pipeline().reconstruction
    assert isinstance(reconstruction, TriplaneReconstruction)
    return rebuilt(reconstruction, photograph_share=0.5)


def test_outlines_of_true_views_go_along(stage: TriplaneReconstruction):
    views = ball_views()
    triplane, expected = stage(views), Outlines.of(views)
    assert triplane.outlines is not None
    assert torch.equal(triplane.outlines.distances, expected.distances)
    assert torch.equal(triplane.outlines.camera.cam_from_world, views.camera.cam_from_world)
    free = TriplaneReconstruction(stage.network, hold_outlines=False)(views)
    assert free.outlines is None and torch.equal(free.planes, triplane.planes)


def test_no_outlines_where_views_contradict_each_other_where_one_is_alone_or_most_are_guesses(
    stage: TriplaneReconstruction,
):
    views = ball_views()
    assert stage(contradicting(views)).outlines is None
    assert stage(views[:1]).outlines is None
    made = stage.from_true(views, views[:1])
    assert made.outlines is None and made.photograph is not None
    assert torch.equal(made.photograph.distances, Outlines.of(views[:1]).distances)
    free = rebuilt(stage, hold_outlines=False)
    assert free.from_true(views, views[:1]).photograph is None and stage(views).photograph is None
    assert all(triplane.outlines is None for triplane in stage.batch([views, views], [views[:1], views[:1]]))


def test_in_a_batch_every_object_has_the_outlines_that_it_has_alone(stage: TriplaneReconstruction):
    objects = [ball_views(0.4), contradicting(ball_views(0.4)), ball_views(0.3, (0.0, 80.0, 170.0, 260.0))]
    together = stage.batch(objects)
    for views, triplane in zip(objects, together, strict=True):
        alone = stage(views)
        assert_close(triplane.planes, alone.planes, atol=1e-4, rtol=1e-4)
        assert (triplane.outlines is None) == (alone.outlines is None) == (views is objects[1])
        if triplane.outlines is not None and alone.outlines is not None:
            assert torch.equal(triplane.outlines.distances, alone.outlines.distances)


def test_the_mesh_of_true_views_stays_within_their_outlines():
    """The tiny network has learnt a ball of 0.54 world units, whatever it is shown."""
    pipeline, views = tiny_pipeline(), ball_views(0.4, tuple(range(0, 360, 30)))
    masks = pipeline.views_to_mesh(views).render(views.camera, 64).alpha > 0.5
    distances = Outlines.of(views).distances * 64
    assert distances[masks].max() < 1
    free = rebuilt(pipeline.reconstruction, hold_outlines=False)
    masks = pipeline.with_stages(reconstruction=free).views_to_mesh(views).render(views.camera, 64).alpha > 0.5
    assert distances[masks].max() > 3
