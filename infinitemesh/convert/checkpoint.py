"""Reading other people's weight files, and renaming their tensors without losing or inventing any."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infinitemesh.errors import CheckpointError
from infinitemesh.files import atomic_write

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
MANY = 5  # names shown in one message


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from .safetensors, or from a pickle that holds nothing but tensors and plain values.

    Pickles are read with `weights_only=True`. A file that needs more than that is refused: there is no other way in.
    A Lightning checkpoint's `state_dict` is unwrapped.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in PICKLES:
            raise CheckpointError(f"{path} is neither .safetensors nor one of {', '.join(PICKLES)}")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and could run code, so it is not opened; "
            f"ask its authors for safetensors ({str(error).splitlines()[0]})"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or no weight file: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is no flat dictionary of tensors")
    return state


def write_halves(tensors: Mapping[str, Tensor], path: Path, *, overwrite: bool = False) -> None:
    """Tensors in half precision as .safetensors, whole or not at all."""
    halves = {name: value.half().contiguous() for name, value in tensors.items()}
    with atomic_write(path, overwrite=overwrite) as temporary:
        save_file(halves, temporary, metadata={"format": "pt"})


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str], *, what: str) -> dict[str, Tensor]:
    """The tensors under new names (`names`: new -> old). Every tensor is used exactly once, or CheckpointError."""
    missing, unexpected = sorted(set(names.values()) - set(state)), sorted(set(state) - set(names.values()))
    for label, keys in (("misses", missing), ("has besides", unexpected)):
        if keys:
            shown = ", ".join(keys[:MANY]) + (", ..." if len(keys) > MANY else "")
            raise CheckpointError(f"this is no {what}: it {label} {len(keys)} tensors ({shown})")
    return {new: state[old] for new, old in names.items()}


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """A map the other way round; the names must be distinct."""
    turned = {old: new for new, old in names.items()}
    assert len(turned) == len(names)
    return turned
