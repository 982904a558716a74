"""Replaces one stage: an interpolation that fades from one neighbour to the other.

The base class walks the ring, places the new cameras and chooses reference and condition (Eq. 3); one method is left.

python examples/03_your_own_stage.py --photo photo.jpg --out out.glb
"""

from dataclasses import replace

import torch
from jsonargparse import auto_cli

from infinitemesh import Camera, InfiniteMeshPipeline, ViewSet
from infinitemesh.stages.view_interpolation import ViewInterpolation


class CrossFade(ViewInterpolation):
    """Each new view is a mixture of its neighbours, more of the nearer one."""

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        to_reference, to_condition = (degrees_between(cameras, views.camera) for views in (reference, condition))
        share = (to_reference / (to_reference + to_condition))[:, None, None, None]
        rgb = torch.lerp(reference.composite(), condition.composite(), share)
        return replace(reference, rgb=rgb, alpha=torch.maximum(reference.alpha, condition.alpha))


def degrees_between(one: Camera, other: Camera) -> torch.Tensor:
    return ((one.azimuth_deg - other.azimuth_deg + 180) % 360 - 180).abs()


def main(photo: str = "examples/images/robot.jpg", out: str = "robot.glb", model: str = "small"):
    pipeline = InfiniteMeshPipeline.from_pretrained(model, view_interpolation=CrossFade(num_between=2))
    pipeline(photo).save(out, overwrite=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
