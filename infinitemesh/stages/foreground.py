"""From a photograph to the front view: matte, cut out, framed (Sec. 3.1's input)."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.images import load_image
from infinitemesh.models.matting import U2NetP
from infinitemesh.stages.base import Stage
from infinitemesh.steps import step
from infinitemesh.turns import aside
from infinitemesh.types import Camera, ViewSet

if TYPE_CHECKING:
    from infinitemesh.images import ImageSource

FRAME_FILL = 0.6  # of the view's width: the object's longer visible side, as in training (data.rigs.FRONT_FILL)
WORKING_SIDE = 1536  # longer photographs are reduced: the object needs 154 pixels at fill 0.6 of 256
KEEP_SHARE = 0.1  # parts smaller than this share of the largest are specks or other things
MIN_OBJECT_PX = 8
MAX_BORDER_SHARE = 0.75  # an object that covers more of the picture's border is the background


class Box(NamedTuple):
    """A part of a picture, in pixels from its top left corner, not in whole ones."""

    left: float
    top: float
    right: float
    bottom: float


class Foreground(Stage):
    """One photograph to one orthographic front view (azimuth 0, elevation 0) of its largest object.

    Framing, the same in training and inference: the bounding box of alpha > 0.5 is centred and its longer side is
    `fill` = 0.6 of the view's width, which spans 1.8 world units; so the visible longer side is 1.08 units long.

    Subclasses say which pixels are the object's (`matte`). A picture that brings its own alpha, with at least one
    transparent pixel, is taken as cut out already and its colours as they are. Otherwise colours at soft edges are
    freed from the background behind them. Raises InputError when there is no object, or nothing but object.
    """

    def __init__(self, *, size: int = 256, fill: float = FRAME_FILL):
        super().__init__()
        self.size, self.fill = size, fill

    @abstractmethod
    def matte(self, rgb: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
        """How much of each pixel is object, in [0, 1]."""

    @torch.no_grad()
    def forward(self, image: "ImageSource") -> ViewSet:
        with step("load"), aside():
            pixels = load_image(image, max_side=WORKING_SIDE)
        rgb, given = pixels[:3], pixels[3:]
        is_cut_out = len(given) > 0 and bool((given < 0.5).any())
        matte = given if is_cut_out else self.matte(rgb)
        with aside():
            alpha = largest_object(matte if is_cut_out else without_haze(matte))
            box = frame_box(alpha, fill=self.fill)
            if is_cut_out:
                premultiplied = resampled(torch.cat([rgb * alpha, alpha]), box, self.size)
            else:
                premultiplied = self._unmixed(rgb, alpha, box)
        alpha = premultiplied[3:].clamp(0, 1)
        rgb = (premultiplied[:3] / alpha.clamp(min=1e-4)).clamp(0, 1)
        return ViewSet(rgb[None], alpha[None], Camera.orbit([0.0], [0.0]), torch.tensor([True]))

    def _unmixed(self, rgb: Tensor, alpha: Tensor, box: Box) -> Float[Tensor, "4 s s"]:
        """At twice the view's size, so that the colours of a pixel's fine structure are told apart before they mix."""
        rgb, alpha = resampled(rgb, box, 2 * self.size, beyond="edge"), resampled(alpha, box, 2 * self.size)
        return F.avg_pool2d(torch.cat([foreground_colour(rgb, alpha) * alpha, alpha]), 2)


class AlphaForeground(Foreground):
    """For pictures that are cut out already."""

    def matte(self, rgb: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
        raise InputError(
            "the picture has no transparent pixel, so nothing says what the object is: "
            "cut it out (a PNG with alpha), or use U2NetForeground"
        )


class U2NetForeground(Foreground):
    """The default: the matte of a small network that comes with the library."""

    def __init__(self, network: U2NetP, *, size: int = 256, fill: float = FRAME_FILL):
        super().__init__(size=size, fill=fill)
        self.network = network

    @step("matte")
    def matte(self, rgb: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
        return self.network(rgb[None].to(self.network.device, self.network.dtype))[0].float().cpu()


class RembgForeground(Foreground):
    """A model of the rembg package, by rembg's name for it ("isnet-general-use", "birefnet-general", ...).

    rembg fetches the model when it is first used; see its own licence before shipping results.
    """

    def __init__(self, model: str, *, size: int = 256, fill: float = FRAME_FILL):
        super().__init__(size=size, fill=fill)
        self.model = model

    def matte(self, rgb: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
        try:
            import rembg  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingBackend("RembgForeground needs rembg: pip install 'infinitemesh[rembg]'") from error
        picture = (rgb.permute(1, 2, 0) * 255).round().byte().numpy()
        mask = rembg.remove(picture, session=rembg.new_session(self.model), only_mask=True)
        return torch.from_numpy(np.array(mask, dtype=np.float32) / 255)[None]


@step("largest object")
def largest_object(alpha: Float[Tensor, "1 h w"]) -> Float[Tensor, "1 h w"]:
    """The matte without specks and other, smaller things; soft pixels go with the solid part that is nearest.

    Raises InputError when nothing is solid, or when the picture's border is covered.
    """
    solid = alpha[0] > 0.5
    if not solid.any():
        raise InputError(
            "no object was found in the picture: take one with a single object before a plain background, "
            "or give a PNG that is cut out"
        )
    parts = np.zeros(solid.shape, np.int32)
    ndimage.label(solid.numpy(), structure=np.ones((3, 3)), output=parts)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = areas >= KEEP_SHARE * areas.max()
    nearest = np.zeros((2, *parts.shape), np.int32)
    ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True, indices=nearest)
    of_kept = torch.from_numpy(kept[parts[nearest[0], nearest[1]]])
    _check_object(solid & of_kept)
    return alpha * of_kept


def _check_object(solid: Bool[Tensor, "h w"]) -> None:
    rows, columns = solid.any(1).sum(), solid.any(0).sum()
    if max(rows, columns) < MIN_OBJECT_PX:
        raise InputError(
            f"the largest object found is {int(columns)} x {int(rows)} pixels, too small to reconstruct; crop to it"
        )
    border = torch.cat([solid[0], solid[-1], solid[:, 0], solid[:, -1]])
    if border.float().mean() > MAX_BORDER_SHARE:
        raise InputError(
            "the object touches the picture's border all around, so its outline cannot be seen: "
            "take the picture from further away, or give a PNG that is cut out"
        )


def without_haze(matte: Float[Tensor, "1 h w"]) -> Float[Tensor, "1 h w"]:
    """Networks are never quite sure: what is within 0.05 of 0 or 1 becomes 0 or 1, edges in between stay soft."""
    return ((matte - 0.05) / 0.9).clamp(0, 1)


@step("foreground colour")
def foreground_colour(
    rgb: Float[Tensor, "3 h w"], alpha: Float[Tensor, "1 h w"], *, radii: tuple[int, ...] = (45, 3)
) -> Float[Tensor, "3 h w"]:
    """The object's own colour where the background shines through (blur fusion, Forte 2021, a pass for each radius).

    Both colours are first guessed as blurred averages of their own side; then what the mixture leaves over is given
    to the foreground in proportion to alpha. Solid pixels stay as they are.
    """
    front = back = rgb
    for radius in radii:
        front_mean = _blurred(front * alpha, radius) / _blurred(alpha, radius).clamp(min=1e-5)
        back_mean = _blurred(back * (1 - alpha), radius) / _blurred(1 - alpha, radius).clamp(min=1e-5)
        left_over = rgb - alpha * front_mean - (1 - alpha) * back_mean
        front, back = (front_mean + alpha * left_over).clamp(0, 1), back_mean
    return torch.where(alpha > 0.999, rgb, front)


def _blurred(x: Float[Tensor, "c h w"], radius: int) -> Float[Tensor, "c h w"]:
    """The mean over a square, by running sums."""
    rows = ndimage.uniform_filter1d(x.numpy(), 2 * radius + 1, axis=1, mode="nearest")
    return torch.from_numpy(ndimage.uniform_filter1d(rows, 2 * radius + 1, axis=2, mode="nearest"))


def frame_box(alpha: Float[Tensor, "1 h w"], *, fill: float = FRAME_FILL) -> Box:
    """The square that the view shows, by the framing rule of `Foreground`; it may reach beyond the picture."""
    rows, columns = ((alpha[0] > 0.5).any(dim).nonzero()[:, 0].tolist() for dim in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    half = max(bottom - top, right - left) / fill / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return Box(x - half, y - half, x + half, y + half)


@step("resample")
def resampled(
    channels: Float[Tensor, "c h w"], box: Box, size: int, *, beyond: Literal["constant", "edge"] = "constant"
) -> Float[Tensor, "c s s"]:
    """The box as size x size, antialiased; beyond the picture are zeros or its edge pixels."""
    from PIL import Image

    height, width = channels.shape[1:]
    margin = math.ceil(max(-box.left, -box.top, box.right - width, box.bottom - height, 0))
    padded = np.pad(channels.numpy(), ((0, 0), (margin, margin), (margin, margin)), mode=beyond)
    moved = (box.left + margin, box.top + margin, box.right + margin, box.bottom + margin)
    filtered = Image.Resampling.HAMMING  # does not overshoot, so premultiplied colours stay below alpha
    resized = [np.asarray(Image.fromarray(channel).resize((size, size), filtered, box=moved)) for channel in padded]
    return torch.from_numpy(np.stack(resized))
