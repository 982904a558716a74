"""Views -> triplane (Sec. 3.3)."""

from abc import abstractmethod
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.render.outlines import Outlines
from infinitemesh.stages.base import Stage
from infinitemesh.steps import step
from infinitemesh.types import Triplane, ViewSet


class Reconstruction(Stage):
    """Turns posed views of one object into a field. Subclasses fill `forward`."""

    @abstractmethod
    def forward(self, views: ViewSet) -> Triplane:
        """`views` are in ring order; any number of them."""

    def from_true(self, views: ViewSet, true: ViewSet) -> Triplane:
        """The same where only the views `true` are, such as the photograph, and others were made of them."""
        return self(views)


class TriplaneReconstruction(Reconstruction):
    """The large reconstruction model.

    What is made of a photograph is in part what the network makes of the photograph alone: `photograph_share` of the
    planes. Its other views are guesses that disagree, and two answers of one network are wrong in different places.

    Views that are true bound the object, so their outlines go along with the planes (`hold_outlines`), where they
    agree with each other: badly posed ones would cut away what only some of them show. A photograph's outline goes
    along too, where it is the only true view: what it shows is there, though the planes may have lost it.
    """

    def __init__(self, network: LargeReconstructionModel, *, photograph_share: float = 0.0, hold_outlines: bool = True):
        """Raises InputError for a share outside [0, 1]."""
        super().__init__()
        if not 0 <= photograph_share <= 1:
            raise InputError(f"photograph_share is a share in [0, 1], got {photograph_share}")
        self.network, self.photograph_share, self.hold_outlines = network, photograph_share, hold_outlines

    @torch.inference_mode()
    def forward(self, views: ViewSet) -> Triplane:
        return self.batch([views])[0]

    def from_true(self, views: ViewSet, true: ViewSet) -> Triplane:
        return self.batch([views], [true])[0]

    @torch.inference_mode()
    def batch(self, objects: list[ViewSet], true: list[ViewSet] | None = None) -> list[Triplane]:
        """Several objects with equally many views of one size, in one call.

        `true` are of each object the views that no network made, of all equally many; None where all are.
        """
        planes = self._planes(objects)
        if true is not None and len(true[0]) == 1:
            if self.photograph_share:
                planes = torch.lerp(planes, self._planes(true), self.photograph_share)
            held = [self._seen(photograph) for photograph in true]
        else:
            held = [self._held(views) for views in true or objects]
        extent, frame = self.network.config["half_extent"], self.network.config["frame"]
        return [Triplane(each, extent, frame, **known) for each, known in zip(planes, held, strict=True)]

    @step("outlines")
    def _held(self, views: ViewSet) -> dict[str, Outlines]:
        if not self.hold_outlines or len(views) == 1:
            return {}
        outlines = Outlines.of(views.to(self.network.device))
        return {"outlines": outlines} if outlines.agree else {}

    @step("outlines")
    def _seen(self, front: ViewSet) -> dict[str, Outlines]:
        return {"photograph": Outlines.of(front.to(self.network.device))} if self.hold_outlines else {}

    def _planes(self, objects: list[ViewSet]) -> Float[Tensor, "b 3 c r r"]:
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
        return self.network(rgba, camera).float()
