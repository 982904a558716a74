"""Projection-lifted tokens: the same numbers with and without gradient, for any cameras and any number of views."""

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.models import lift as lift_module
from infinitemesh.models.lift import ProjectionLift
from infinitemesh.types import Camera


def lift(**options) -> ProjectionLift:
    return ProjectionLift(dim=16, **{"low_res": 4, "pixel_channels": 3, "volume_channels": 4} | options)


def rings(*azimuths_deg: list[float], elevation_deg: float = 20.0, projection="orthographic") -> Camera:
    cameras = [Camera.orbit(row, elevation_deg, projection=projection) for row in azimuths_deg]
    return Camera(
        torch.stack([c.cam_from_world for c in cameras]), torch.stack([c.intrinsics for c in cameras]), projection
    )


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_both_ways_of_looking_up_give_the_same_tokens(projection):
    """Without gradients features are gathered; with them, grid_sample looks them up."""
    network = lift()
    views, camera = torch.rand(2, 3, 4, 32, 32), rings([0, 80, 200], [10, 140, 300], projection=projection)
    with torch.no_grad():
        gathered = network(views, camera)
    interpolated = network(views, camera)
    assert interpolated.requires_grad and not gathered.requires_grad
    assert_close(gathered, interpolated.detach(), atol=1e-5, rtol=0)


def test_the_voxels_taken_at_a_time_change_nothing(monkeypatch):
    network, views, camera = lift(), torch.rand(2, 3, 4, 32, 32), rings([0, 80, 200], [10, 140, 300])
    whole = network(views, camera)
    monkeypatch.setattr(lift_module, "CPU_VOXELS", 1)  # a layer at a time
    assert_close(network(views, camera), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gradient", [False, True])
def test_the_order_of_views_does_not_matter_and_objects_do_not_mix(gradient):
    network, views = lift(), torch.rand(2, 3, 4, 32, 32)
    azimuths = [[0, 80, 200], [10, 140, 300]]
    with torch.set_grad_enabled(gradient):
        tokens = network(views, rings(*azimuths))
        turned = network(views.flip(1), rings(*(row[::-1] for row in azimuths)))
        alone = network(views[1:], rings(azimuths[1]))
    assert_close(turned, tokens, atol=1e-5, rtol=0)
    assert_close(alone, tokens[1:], atol=1e-5, rtol=0)


def test_every_picture_gets_a_gradient_and_every_parameter_too():
    network, views = lift(), torch.rand(1, 2, 4, 32, 32, requires_grad=True)
    network(views, rings([0, 90])).square().sum().backward()
    assert bool((views.grad.abs().amax((0, 3, 4)) > 0).all())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_spread_and_context_start_as_no_change_and_then_learn():
    torch.manual_seed(0)
    plain = ProjectionLift(dim=16, low_res=6, pixel_channels=8, volume_channels=8)
    richer = ProjectionLift(dim=16, low_res=6, pixel_channels=8, volume_channels=8, spread=True, context_channels=4)
    missing, unexpected = richer.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} == {"mix_spread", "context"}
    camera = Camera.orbit(torch.arange(4) * 90.0)
    camera = Camera(camera.cam_from_world[None], camera.intrinsics[None])
    views = torch.rand(1, 4, 4, 32, 32)
    assert torch.equal(plain(views, camera), richer(views, camera))
    richer(views, camera).square().sum().backward()
    assert richer.mix_spread.weight.grad.abs().max() > 0 and richer.context.up2.weight.grad.abs().max() > 0


def test_spread_tells_views_that_agree_from_views_that_do_not():
    lift = ProjectionLift(dim=16, low_res=4, pixel_channels=4, volume_channels=4, spread=True)
    torch.nn.init.ones_(lift.mix_spread.weight)
    seen = []
    lift.mix_spread.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    camera = Camera.orbit(torch.arange(4) * 90.0)
    camera = Camera(camera.cam_from_world[None], camera.intrinsics[None])
    flat = torch.ones(1, 4, 4, 32, 32) * 0.5
    differing = flat.clone()
    differing[:, ::2, :3] = 0.9
    lift(flat, camera), lift(differing, camera)
    inner = (slice(None), slice(None), slice(1, 3), slice(1, 3), slice(1, 3))
    assert seen[0][inner].abs().max() < 5e-3 < seen[1][inner].abs().max()
