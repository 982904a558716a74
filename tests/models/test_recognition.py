"""Recognition beside the backbone: the object is cut out wherever it stands, nothing changes at first, and only the
ways in are trained."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.efficientnet import EfficientNetLite
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.semantics import CROP, SemanticFeatures, cut_out
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.types import Camera

SEMANTICS = dict(semantic_layers=3, semantic_dim=12, semantic_heads=2, semantic_size=28)
CROP_PX = 32


def orbit(objects: int, views: int = 1) -> Camera:
    camera = Camera.orbit(torch.arange(views) * 90.0)
    return Camera(camera.cam_from_world.expand(objects, -1, -1, -1), camera.intrinsics.expand(objects, -1, -1, -1))


def card(left: int, top: int, width: int, height: int, *, size: int = 96) -> Tensor:
    """A picture of a card whose colours run from edge to edge, each linear in its own coordinates; noise that is not
    seen lies around it."""
    picture = torch.cat([torch.rand(3, size, size), torch.zeros(1, size, size)])
    at = [(torch.arange(length) + 0.5) / length for length in (height, width)]
    down, across = torch.meshgrid(*at, indexing="ij")
    colours = torch.stack([across, down, (across + down) / 2, torch.ones_like(down)])
    picture[:, top : top + height, left : left + width] = colours
    return picture


def crop_of_card(width: int, height: int) -> tuple[Tensor, Tensor]:
    """What its crop is by definition, and where that is neither on an edge nor next to one."""
    longer = max(width, height)
    at = ((torch.arange(CROP_PX) + 0.5) / CROP_PX - 0.5) * CROP * longer  # pixels from the card's middle
    down, across = torch.meshgrid(at, at, indexing="ij")
    inside = (across.abs() < width / 2) & (down.abs() < height / 2)
    u, v = across / width + 0.5, down / height + 0.5
    crop = torch.where(inside, torch.stack([u, v, (u + v) / 2]), 1.0)
    beside = torch.minimum((across.abs() - width / 2).abs(), (down.abs() - height / 2).abs())
    return crop, (beside >= 0.5) | ((across.abs() > width / 2 + 0.5) | (down.abs() > height / 2 + 0.5))


@pytest.mark.parametrize("size", [96, 131])
@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (1, 1), (8, 3)])
def test_an_object_anywhere_and_of_any_size_gives_the_same_crop(shape, size):
    pictures, expected = [], []
    for longer in (16, 24, 40, 80):
        width, height = (longer * side // max(shape) for side in shape)
        for x, y in ((0, 0), (size - width, size - height), ((size - width) // 2, (size - height) // 3)):
            pictures.append(card(x, y, width, height, size=size))
            expected.append(crop_of_card(width, height))
    crops = cut_out(torch.stack(pictures), CROP_PX)
    for crop, (exact, clear) in zip(crops, expected, strict=True):
        assert clear.float().mean() > 0.6
        assert_close(crop[:, clear], exact[:, clear], atol=2e-4, rtol=0)
    for first in range(0, len(crops), 3):  # the same size elsewhere: all pixels, edges too
        assert_close(crops[first : first + 3], crops[first].expand(3, -1, -1, -1), atol=2e-3, rtol=0)


def test_the_sides_of_a_crop_keep_their_ratio():
    crops = cut_out(torch.stack([card(3, 50, 80, 20), card(60, 4, 15, 60), card(10, 10, 44, 44)]), 220)
    for crop, (width, height) in zip(crops, ((80, 20), (15, 60), (44, 44)), strict=True):
        shown = (crop < 1).any(0)
        across, down = shown.any(0).sum(), shown.any(1).sum()
        assert_close(across / down, torch.tensor(width / height), atol=0, rtol=0.08)
        assert abs(int(max(across, down)) - 220 / CROP) < 8
        margins = torch.stack([shown.any(0).nonzero()[0, 0], 219 - shown.any(0).nonzero()[-1, 0]])
        assert (margins[0] - margins[1]).abs() <= 1, "the object stands in the middle"


def test_an_empty_picture_is_white_and_does_not_touch_its_neighbours():
    empty = torch.cat([torch.rand(3, 96, 96), torch.zeros(1, 96, 96)])
    seen = card(20, 30, 40, 30)
    crops = cut_out(torch.stack([empty, seen, empty]), CROP_PX)
    assert torch.equal(crops[0], torch.ones(3, CROP_PX, CROP_PX)) and torch.equal(crops[2], crops[0])
    assert torch.equal(crops[1], cut_out(seen[None], CROP_PX)[0])


def test_what_is_too_faint_for_an_object_is_the_whole_picture():
    faint = card(0, 0, 96, 96)
    faint[3] = 0.3
    exact, clear = crop_of_card(96, 96)
    assert_close(cut_out(faint[None], CROP_PX)[0, :, clear], 0.7 + 0.3 * exact[:, clear], atol=1e-4, rtol=0)


def test_mixed_precision_moves_no_crop():
    pictures = torch.stack([card(3, 7, 41, 23), card(50, 61, 20, 31)])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = cut_out(pictures, CROP_PX)
    assert torch.equal(mixed, cut_out(pictures, CROP_PX))


def test_what_is_recognised_depends_on_the_object_and_not_on_where_it_stands():
    semantics = SemanticFeatures(
        token_dim=8, pixel_channels=4, dim=12, layers=3, heads=2, size=28, recognition="tiny"
    ).eval()
    near, moved, far, other = card(0, 0, 60, 30), card(31, 66, 60, 30), card(5, 40, 40, 20), card(0, 0, 30, 60)
    with torch.no_grad():
        maps = semantics(torch.stack([near, moved, far, other])[None])
        tokens, pixels = semantics.tokens(maps, 2), semantics.pixels(maps, 4)
    one, same, similar, different = maps.recognised
    assert_close(one, same, atol=1e-4, rtol=1e-3)
    assert (one - similar).abs().max() < 0.5 * (one - different).abs().max()
    assert tokens.shape == (4, 5, 8) and pixels.shape == (4, 4, 4, 4)
    assert tokens.abs().max() == 0 and pixels.abs().max() == 0, "both ways in start at zero"


def with_and_without(kind: str) -> tuple[LargeReconstructionModel, LargeReconstructionModel]:
    """One network twice, trained semantics and all, once with a fresh recognition."""
    cls, config = {
        "single view": (SingleViewModel, {}),
        "views": (LargeReconstructionModel, {}),
        "no lift": (LargeReconstructionModel, {"lift": False}),
    }[kind]
    without = cls.preset("tiny", **SEMANTICS, **config)
    for way_in in (without.semantics.to_tokens, without.semantics.to_pixels):
        if way_in is not None:
            torch.nn.init.normal_(way_in.weight, std=0.1)
    recognising = cls.preset("tiny", **SEMANTICS, **config, recognition="tiny")
    missing, unexpected = recognising.load_state_dict(without.state_dict(), strict=False)
    assert missing and not unexpected
    assert all(name.startswith(("semantics.recognition.", "semantics.recognised.")) for name in missing)
    return without, recognising


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["single view", "views", "no lift"])
def test_a_network_with_recognition_starts_as_exactly_the_one_without(kind, training):
    without, recognising = (network.train(training) for network in with_and_without(kind))
    views = 1 if kind == "single view" else 3
    rgba = torch.rand(2, views, 4, 32, 32)
    assert torch.equal(recognising(rgba, orbit(2, views)), without(rgba, orbit(2, views)))
    for name in ("to_tokens", "to_pixels"):
        if (way_in := getattr(recognising.semantics.recognised, name)) is not None:
            before = recognising.eval()(rgba, orbit(2, views))
            torch.nn.init.normal_(way_in.weight)
            assert not torch.allclose(recognising(rgba, orbit(2, views)), before), "each way in is read"


def step_of_training(network: SingleViewModel, rgba: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    planes = network(rgba, orbit(len(rgba)))
    (planes - torch.linspace(-1, 1, planes.shape[-1])).square().mean().backward()
    optimiser.step()


def test_a_step_without_the_old_semantics_moves_the_new_layers_alone():
    network = with_and_without("single view")[1].train()
    semantics = network.semantics
    semantics.hidden = 1.0
    frozen = [semantics.backbone, semantics.recognition]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    rgba = torch.rand(3, 1, 4, 32, 32)

    step_of_training(network, rgba, optimiser)
    for old in (semantics.to_tokens, semantics.to_pixels):
        assert old.weight.grad is not None and old.weight.grad.abs().max() == 0, "nothing was shown to it"
        assert old.bias.grad.abs().max() > 0
    for new in (semantics.recognised.to_tokens, semantics.recognised.to_pixels):
        assert new.weight.grad.abs().max() > 0 and new.bias.grad.abs().max() > 0
    step_of_training(network, rgba, optimiser)  # what lies before ways in that start at zero is taught by the second
    after = network.state_dict()
    for name, value in before.items():
        if name.startswith(("semantics.backbone.", "semantics.recognition.")):
            assert torch.equal(after[name], value), name
        if name in ("semantics.to_tokens.weight", "semantics.to_pixels.weight"):
            assert torch.equal(after[name], value), name
        if name.startswith("semantics.recognised."):
            assert not torch.equal(after[name], value), name

    semantics.hidden = 0.0
    step_of_training(network, rgba, optimiser)
    assert semantics.to_tokens.weight.grad.abs().max() > 0 and semantics.to_pixels.weight.grad.abs().max() > 0


def test_frozen_parts_stay_frozen_when_everything_is_asked_to_be_trained():
    semantics = with_and_without("single view")[1].semantics.requires_grad_(True)
    semantics.freeze()
    trained = {name.split(".")[0] for name, p in semantics.named_parameters() if p.requires_grad}
    assert trained == {"to_tokens", "to_pixels", "recognised"}


def test_a_share_of_views_is_hidden_whole_and_is_recognised_all_the_same():
    semantics = with_and_without("single view")[1].semantics
    semantics.recognised.boiled[1].p = 0.0  # its dropout is another matter
    rgba = torch.rand(1, 1, 4, 32, 32).expand(1, 400, -1, -1, -1)
    shown = semantics.eval()(rgba)
    semantics.hidden = 0.3
    some = semantics.train()(rgba)
    hidden = (some.whole == 0).all(1)
    assert torch.equal(hidden, (some.grid == 0).flatten(1).all(1))
    assert torch.equal(some.whole[~hidden], shown.whole[~hidden])
    assert torch.equal(some.grid[~hidden], shown.grid[~hidden])
    assert torch.equal(some.recognised, shown.recognised)
    assert abs(float(hidden.float().mean()) - 0.3) < 0.1


def test_evaluation_hides_nothing_and_gives_the_same_twice():
    network = with_and_without("single view")[1]
    torch.nn.init.normal_(network.semantics.recognised.to_tokens.weight)
    rgba, camera = torch.rand(2, 1, 4, 32, 32), orbit(2)
    before = network.eval()(rgba, camera)
    network.semantics.hidden = 1.0
    assert torch.equal(network(rgba, camera), before) and torch.equal(network(rgba, camera), before)
    assert not torch.allclose(network.train()(rgba, camera), before)
    network.semantics.hidden = 0.0
    assert not torch.equal(network(rgba, camera), network(rgba, camera)), "a tenth is dropped in training"


@pytest.mark.parametrize("eight_bit", [False, True])
def test_a_network_with_recognition_is_stored_and_loaded(eight_bit, tmp_path):
    network = with_and_without("single view")[1].eval()
    torch.nn.init.normal_(network.semantics.recognised.to_tokens.weight, std=0.1)
    network.semantics.hidden = 0.5  # a run's choice, not the network's
    folder = save_network(network, tmp_path / "once", eight_bit=eight_bit)
    loaded = load_network(SingleViewModel, folder)
    assert loaded.config["recognition"] == "tiny" and loaded.semantics.hidden == 0
    assert isinstance(loaded.semantics.recognition, EfficientNetLite)
    for name, value in network.state_dict().items():
        rounded = 0.51 / 127 * value.abs().max() if eight_bit and value.numel() > 4096 else 0
        assert (loaded.state_dict()[name] - value).abs().max() <= rounded, name
    frozen = [*loaded.semantics.backbone.parameters(), *loaded.semantics.recognition.parameters()]
    assert not any(p.requires_grad for p in frozen)
    assert all(p.requires_grad for p in loaded.semantics.recognised.parameters())
    rgba, camera = torch.rand(2, 1, 4, 32, 32), orbit(2)
    with torch.no_grad():
        ours, theirs = network(rgba, camera), loaded(rgba, camera)
    assert (ours - theirs).norm() <= (2e-2 if eight_bit else 0) * ours.norm()
    again = load_network(SingleViewModel, save_network(loaded, tmp_path / "twice", eight_bit=eight_bit))
    for name, value in loaded.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("cls", [SingleViewModel, LargeReconstructionModel])
def test_recognition_alone_is_an_error_and_not_ignored(cls):
    with pytest.raises(InputError, match="set semantic_layers"):
        cls.preset("tiny", recognition="tiny")
