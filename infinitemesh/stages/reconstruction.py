"""Views -> triplane (Sec. 3.3)."""

from abc import abstractmethod
from dataclasses import replace

import torch

from infinitemesh.errors import InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.stages.base import Stage
from infinitemesh.types import Triplane, ViewSet


class Reconstruction(Stage):
    """Turns posed views of one object into a field. Subclasses fill `forward`."""

    @abstractmethod
    def forward(self, views: ViewSet) -> Triplane:
        """`views` are in ring order; any number of them."""


class TriplaneReconstruction(Reconstruction):
    """The large reconstruction model."""

    def __init__(self, network: LargeReconstructionModel):
        super().__init__()
        self.network = network

    @torch.inference_mode()
    def forward(self, views: ViewSet) -> Triplane:
        return self.batch([views])[0]

    @torch.inference_mode()
    def batch(self, objects: list[ViewSet]) -> list[Triplane]:
        """Several objects with equally many views of one size, in one call."""
        shapes = {(tuple(views.rgb.shape), views.camera.projection) for views in objects}
        if len(shapes) != 1:
            raise InputError(f"a batch needs equally many views of one size and projection, got {sorted(shapes)}")
        device, dtype = self.network.device, self.network.dtype
        rgba = torch.stack([torch.cat([views.rgb, views.alpha], dim=1) for views in objects]).to(device, dtype)
        camera = replace(
            objects[0].camera,
            cam_from_world=torch.stack([views.camera.cam_from_world for views in objects]).to(device),
            intrinsics=torch.stack([views.camera.intrinsics for views in objects]).to(device),
        )
        planes = self.network(rgba, camera).float()
        config = self.network.config
        return [Triplane(each, config["half_extent"], config["frame"]) for each in planes]
