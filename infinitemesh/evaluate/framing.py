"""Where the framing rule puts the truth: in the world of a photograph, or of a system's front view.

A photograph does not say how large its object is. The rule of `stages.foreground.Foreground` says how it stands anyway:
the outline is centred, its longer side fills 0.6 of the 1.8 units of a view, and depth is centred by the object's own
box. So a result made of a photograph stands in a frame of its own, and the truth has one place in that frame.

    photo_from_truth   from the photograph, its known camera and the truth: the result has no part in it
    place_by_front     from a front view that a system made (or framed) itself
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import GenerationError
from infinitemesh.evaluate.align import Similarity
from infinitemesh.evaluate.rigs import Rig
from infinitemesh.evaluate.truth import Case
from infinitemesh.types import FIELD_HALF_EXTENT, Mesh, ViewSet

FRONT_SIZE = 512  # of the silhouette that the truth's frame is read from
SPAN = 2 * FIELD_HALF_EXTENT


def photo_from_truth(case: Case) -> Similarity:
    """The truth's place in the frame of the protocol's photograph, in which a pipeline's mesh stands.

    Turned by where the photograph was taken from; scaled and shifted so that its box from the front is where the
    photograph, cut by the framing rule, shows it. The cut is the pipeline's own, whole pixels included.
    """
    from infinitemesh.images import load_image
    from infinitemesh.stages.foreground import frame_box, largest_object

    picture, camera = case.photo(), case.photo_camera()
    window = frame_box(largest_object(load_image(picture)[3:]))
    points = case.mesh.vertices[case.mesh.faces.unique()]
    seen = camera.project(points)[0][0] * picture.width
    corner, side = seen.new_tensor([window.left, window.top]), window.right - window.left
    target = (torch.cat([seen.amin(0), seen.amax(0)]) - corner.repeat(2)) / side
    rotation = camera.cam_from_world[0, :3, :3]
    turned = points @ rotation.T
    low, high = turned.amin(0), turned.amax(0)
    box = 0.5 + torch.stack([low[0], -high[1], high[0], -low[1]]) / SPAN  # the orthographic front view's
    scale, right, down = _onto(target, box, SPAN)
    depth = -scale * (low[2] + high[2]) / 2
    return Similarity(rotation, float(scale), torch.stack([right, -down, depth]))


def place_by_front(truth: Mesh, front: ViewSet) -> Mesh:
    """The truth scaled and shifted so that its orthographic front view fills the same box as the one view `front`."""
    rig = Rig(size=FRONT_SIZE)
    target = outline_box(front.alpha[0, 0])
    for _ in range(2):  # the second round takes out the rounding of the first
        box = outline_box(rig.views(truth).alpha[0, 0])
        scale, right, down = _onto(target, box, 1 / float(rig.camera.intrinsics[0, 0, 0]))
        shift = truth.vertices.new_tensor([float(right), -float(down), 0.0])
        truth = replace(truth, vertices=truth.vertices * scale + shift)
    return truth


def outline_box(alpha: Float[Tensor, "h w"]) -> Float[Tensor, "4"]:
    """left, top, right, bottom of what is covered, in image widths, to a fraction of a pixel."""
    columns, rows = alpha.amax(0), alpha.amax(1)
    if float(columns.max()) < 0.5:
        raise GenerationError("the front view shows no object")
    edges = [_first(columns), _first(rows), 1 - _first(columns.flip(0)), 1 - _first(rows.flip(0))]
    return torch.tensor(edges)


def _onto(target: Float[Tensor, "4"], box: Float[Tensor, "4"], span: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and shift (right and down, in world units) that give a view's box another's middle and longer side."""
    scale = (target[2:] - target[:2]).max() / (box[2:] - box[:2]).max()
    middle, target_middle = (box[:2] + box[2:]) / 2, (target[:2] + target[2:]) / 2
    right, down = (target_middle - 0.5) * span - (middle - 0.5) * span * scale
    return scale, right, down


def _first(profile: Float[Tensor, " n"]) -> float:
    """Where coverage begins: the first covered pixel counts by its coverage."""
    index = int((profile > 0.02).nonzero()[0, 0])
    return (index + 1 - float(profile[index])) / len(profile)
