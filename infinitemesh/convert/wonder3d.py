"""Wonder3D's UNet: our names are its names. Only files of older code call the cross-domain layers differently.

The public weights are not free for commercial use; say so to whoever asks for them. `infinitemesh` ships none of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from infinitemesh.convert.checkpoint import inverse, read_checkpoint, renamed
from infinitemesh.errors import CheckpointError
from infinitemesh.models.multiview_unet import MultiViewUNet, config_from_released

LICENCE = (
    "wonder3d-v1.0: AGPL-3.0 on its model card, and built on OpenRAIL-M weights with use restrictions; "
    "models trained from it inherit these terms"
)
OLDER_NAMES = {".attn_joint_mid.": ".attn_joint_twice.", ".norm_joint_mid.": ".norm_joint_twice."}  # ours -> theirs
CROSS_DOMAIN = (".attn_joint_mid.", ".norm_joint_mid.")


def unet_from_wonder3d(
    state: Mapping[str, Tensor], config: Mapping[str, Any], *, cross_domain: bool = True
) -> MultiViewUNet:
    """The network of a released config.json with its weights, in the precision of the file.

    `cross_domain` False leaves the layers between colours and normals out: the network after Wonder3D's first stage,
    which is where colour-only views and interpolation start from.
    """
    ours = {**config_from_released(config), "cross_domain": cross_domain}
    tensors = from_wonder3d(state)
    if not cross_domain:
        tensors = without_cross_domain(tensors)
    unet = cast(MultiViewUNet, MultiViewUNet.from_config(ours))
    unet = unet.to(next(iter(tensors.values())).dtype)  # pyright: ignore[reportArgumentType]
    unet.load_state_dict(renamed(tensors, {key: key for key in unet.state_dict()}, what="Wonder3D UNet of this config"))
    return unet.eval()


def from_wonder3d(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names. Files of older and newer code are told apart by their own names."""
    names = {_replaced(key, inverse(OLDER_NAMES)): key for key in state}
    return renamed(state, names, what="Wonder3D UNet")


def to_wonder3d(state: Mapping[str, Tensor], *, older_code: bool = False) -> dict[str, Tensor]:
    """Wonder3D's names, on request those that its older code reads."""
    names = {_replaced(key, OLDER_NAMES if older_code else {}): key for key in state}
    return renamed(state, names, what="MultiViewUNet")


def without_cross_domain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not any(part in key for part in CROSS_DOMAIN)}


def read_wonder3d_unet(folder: str | Path, *, cross_domain: bool = True) -> MultiViewUNet:
    """From the `unet` folder of the release: config.json and one weight file."""
    folder = Path(folder)
    names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
    weights = [folder / name for name in names if (folder / name).is_file()]
    if not (folder / "config.json").is_file() or not weights:
        raise CheckpointError(
            f"{folder} is no Wonder3D unet folder: it needs config.json and one of {', '.join(names)}"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return unet_from_wonder3d(read_checkpoint(weights[0]), config, cross_domain=cross_domain)


def _replaced(key: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        key = key.replace(old, new)
    return key
