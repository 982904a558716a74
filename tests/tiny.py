"""A tiny pipeline of the real classes whose reconstruction has learnt one thing: a ball."""

from functools import lru_cache

import torch
from PIL import Image, ImageDraw

from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.presets import fresh_pipeline
from infinitemesh.types import Camera

RADIUS = 0.6  # of the planes' half extent


@lru_cache(maxsize=1)
def tiny_pipeline() -> InfiniteMeshPipeline:
    """One for the whole session: copy it with `with_stages` rather than change it."""
    pipeline = fresh_pipeline("tiny")
    _learn_a_ball(pipeline.reconstruction.network)
    return pipeline


def _learn_a_ball(network: LargeReconstructionModel, steps: int = 100) -> None:
    random = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    camera = Camera.orbit(torch.tensor([[0.0, 90.0, 180.0, 270.0]]))
    for _ in range(steps):
        points = torch.rand(1, 2048, 3, generator=random) * 2 - 1
        views = torch.rand(1, 4, 4, 64, 64, generator=random) * torch.rand(1, generator=random)
        distance = network.decoders.sdf(network(views, camera), points)
        loss = (distance - points.norm(dim=-1) + RADIUS).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()


def cut_out(colour: str = "red", *, size: int = 48) -> Image.Image:
    """A cut-out picture of a coloured egg with a white spot."""
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((size * 0.2, size * 0.1, size * 0.8, size * 0.9), fill=colour)
    draw.ellipse((size * 0.3, size * 0.2, size * 0.5, size * 0.4), fill="white")
    return picture
