"""From a run's weights to what is shipped: small files to carry home, and a pipeline folder made of them.

    python -m infinitemesh.train.export RUN/weights OUT --max-shard-mib 15       # where the run was
    python -m infinitemesh.train.export assemble FOLDER --parts OUT ... --base small    # where it is shipped

An export holds every network of the folder, in half precision, in as few files as their size allows; the first also
carries the configurations. What the parts do not bring, the base does. `--eight-bit reconstruction` stores the large
tensors of that network in 8 bits, half of half precision (`infinitemesh.eight_bit`); with `--six-bit
reconstruction/semantics.backbone.` as well, those of its backbone in 6.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infinitemesh.bundle import NETWORKS, arguments, open_network, rebuilt
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.evaluate.overrides import apply_overrides, parse_overrides
from infinitemesh.files import atomic_folder, atomic_write_all, write_bytes
from infinitemesh.hub import CONFIG, WEIGHTS, write_checksums
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel, share_backbone
from infinitemesh.pipeline import STAGES, InfiniteMeshPipeline
from infinitemesh.presets import fresh_pipeline
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import ViewDiffusion
from infinitemesh.train.views import SETTINGS, load_diffusion

FORMAT = "infinitemesh-export-1"
PART = "part-{:03d}-of-{:03d}.safetensors"
FRONT = ("main_views", "view_interpolation")
VIEWS = tuple(NETWORKS[name][1] for name in ("MultiViewUNet", "ImageAutoencoder", "ImageEncoder"))


def export_weights(
    weights: str | Path, out: str | Path, *, max_shard_mib: float = 15.0, overwrite: bool = False
) -> list[Path]:
    """Writes the networks of `weights` (one network's folder, or a folder of such) into files below the limit."""
    weights, out = Path(weights), Path(out)
    tensors: dict[str, Tensor] = {}
    texts: dict[str, str] = {}
    for name, network in _networks_in(weights).items():
        texts[f"{name}/{CONFIG}"] = network.to_json_string()
        for key, value in network.state_dict().items():
            half = value.detach().to(torch.float16 if value.is_floating_point() else value.dtype)
            if half.is_floating_point() and not torch.isfinite(half).all():
                raise CheckpointError(f"{name}: {key} is not finite in half precision; these weights cannot be shipped")
            tensors[f"{name}/{key}"] = half.contiguous()
    if (weights / SETTINGS).is_file():
        texts[SETTINGS] = (weights / SETTINGS).read_text(encoding="utf-8")
    shards = _shards_below(tensors, max_shard_mib)
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / PART.format(number + 1, len(shards)) for number in range(len(shards))]
    with atomic_write_all(paths, overwrite=overwrite) as temporaries:
        for temporary, shard in zip(temporaries, shards, strict=True):
            save_file(shard, temporary, metadata={"format": FORMAT, "texts": json.dumps(texts)})
            texts = {}
    return paths


def unpack(parts: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """An export as folders of networks again, as `ViewsTask.save` and the like wrote them."""
    tensors: dict[str, dict[str, Tensor]] = {}
    texts: dict[str, str] = {}
    for path in _all_parts(Path(parts)):
        try:
            with safe_open(path, framework="pt") as opened:
                metadata = opened.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise CheckpointError(f"{path} is no part of an export: make one with infinitemesh.train.export")
                texts |= json.loads(metadata["texts"])
                for key in opened.keys():
                    name, _, inner = key.partition("/")
                    tensors.setdefault(name, {})[inner] = opened.get_tensor(key)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged ({error}): fetch it again") from error
    known = {folder for _, folder in NETWORKS.values()}
    if not set(tensors) <= known or any(f"{name}/{CONFIG}" not in texts for name in tensors):
        raise CheckpointError(f"{parts} holds {', '.join(sorted(tensors))}, of which not all are networks of ours")
    with atomic_folder(out, overwrite=overwrite) as temporary:
        for name, values in tensors.items():
            (temporary / name).mkdir()
            (temporary / name / CONFIG).write_text(texts[f"{name}/{CONFIG}"], encoding="utf-8")
            save_file(values, temporary / name / WEIGHTS, metadata={"format": "pt"})
        if SETTINGS in texts:
            (temporary / SETTINGS).write_text(texts[SETTINGS], encoding="utf-8")
    return Path(out)


def assemble(
    folder: str | Path,
    weights: Sequence[str | Path],
    *,
    base: str | Path | None = "small",
    preset: str = "small",
    settings: Sequence[str] = (),
    eight_bit: Collection[str] = (),
    six_bit: Mapping[str, Collection[str]] | None = None,
    overwrite: bool = False,
) -> Path:
    """A pipeline folder with checksums from folders of networks, the later ones over the earlier, and a base.

    `base` is a pipeline whose stages stay where the weights bring nothing; settings of stages that it has not are the
    preset's, and `settings` ("main_views.sampling.steps=2", as `infinitemesh evaluate --set` takes them) change both.
    Nothing untrained gets in: a front half that neither has is left out. Notes (.md) in `folder` stay there.
    `eight_bit` names all networks whose large tensors are stored in 8 bits, those of the base included: others are
    stored in half precision. `six_bit` names, by network and prefixes, all tensors of these that are stored in 6 bits.
    """
    folder = Path(folder)
    notes = {path.name: path.read_bytes() for path in folder.glob("*.md")} if folder.is_dir() else {}
    stages, fresh = _stages_of(base), fresh_pipeline(preset)
    found: dict[str, ModelMixin] = {}
    diffusion: ViewDiffusion | None = None
    for each in map(Path, weights):
        networks = _networks_in(each)
        found |= networks
        if (each / SETTINGS).is_file():
            diffusion = load_diffusion(each)
        elif set(networks) & set(VIEWS):
            raise InputError(
                f"{each} has {', '.join(sorted(set(networks) & set(VIEWS)))} alone: a denoiser works in the latents of "
                f"its own autoencoder, so bring them together, with the {SETTINGS} of their run"
            )
    if "matting" in found:
        stages["foreground"] = rebuilt(fresh.foreground, network=found["matting"])
    if isinstance(lrm := found.get("reconstruction"), LargeReconstructionModel):
        stages["reconstruction"] = rebuilt(stages.get("reconstruction", fresh.reconstruction), network=lrm)
        for name in ("surface", "texturing"):
            stages[name] = rebuilt(stages.get(name, getattr(fresh, name)), decoders=lrm.decoders)
    elif "reconstruction" not in stages:
        raise CheckpointError("there is no reconstruction: bring its weights, or name a base that has one")
    lrm = stages["reconstruction"].network
    single, brought = found.get("single_view") or _single_view_of(stages), "single_view" in found
    if isinstance(single, SingleViewModel):
        share_backbone(single, lrm)
    for name in FRONT:
        stage: Any = stages.get(name)
        if diffusion is not None:
            trained_so = {"attend": "ring"} if name == "view_interpolation" else {}
            before = stage.coarse if _is_diffused(stage) and stage.coarse is not None else CoarseRenderer(lrm)
            coarse = _coarse_of(name, before, single, lrm, paired=True) if diffusion.channels.coarse else None
            stage = stage if _is_diffused(stage) else getattr(fresh, name)
            stages[name] = rebuilt(stage, diffusion=diffusion, coarse=coarse, **trained_so)
        elif _is_diffused(stage) and stage.coarse is not None:
            paired = brought or stage.coarse.second is not None
            stages[name] = rebuilt(stage, coarse=_coarse_of(name, stage.coarse, single, lrm, paired=paired))
    if brought and _single_view_of(stages) is None:
        raise InputError(
            "a single-view network is for main views that are drawn after coarse renders: bring a denoiser too"
        )
    pipeline = apply_overrides(InfiniteMeshPipeline(**stages, name=preset).eval(), parse_overrides(settings))
    pipeline.save_pretrained(folder, eight_bit=eight_bit, six_bit=six_bit, overwrite=overwrite)
    for name, content in notes.items():
        write_bytes(folder / name, content)
    write_checksums(folder)
    return folder


def _stages_of(base: str | Path | None) -> dict[str, Any]:
    if base is None:
        return {}
    opened = InfiniteMeshPipeline.from_pretrained(base)
    return {name: stage for name in STAGES if (stage := getattr(opened, name)) is not None}


def _single_view_of(stages: Mapping[str, Any]) -> Any:
    """What the main views of a base are drawn after, where that is a network of its own."""
    stage: Any = stages.get("main_views")
    network = stage.coarse.network if _is_diffused(stage) and stage.coarse is not None else None
    return network if isinstance(network, SingleViewModel) else None


def _coarse_of(stage: str, before: CoarseRenderer, single: Any, lrm: Any, *, paired: bool) -> CoarseRenderer:
    """`before` with these networks. `paired`: from one view both know something, and are wrong in different places."""
    if stage == "main_views" and single is not None:
        return rebuilt(before, network=single, second=lrm if paired else None)
    return rebuilt(before, network=lrm, second=None)


def _is_diffused(stage: Any) -> bool:
    return stage is not None and "diffusion" in arguments(stage)


def _networks_in(folder: Path) -> dict[str, ModelMixin]:
    """Networks by their folder's name in a pipeline."""
    places = [folder] if (folder / CONFIG).is_file() else sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    networks: dict[str, ModelMixin] = {}
    for place in places:
        name = str(json.loads((place / CONFIG).read_text(encoding="utf-8")).get("_class_name"))
        if name not in NETWORKS:
            raise CheckpointError(f"{place} holds a {name}; exported are {', '.join(NETWORKS)}")
        networks[NETWORKS[name][1]] = open_network(ModelMixin, place)
    if not networks:
        raise CheckpointError(f"{folder} holds no networks: neither a {CONFIG} nor folders with one")
    return networks


def _shards_below(tensors: Mapping[str, Tensor], max_mib: float) -> list[dict[str, Tensor]]:
    """In the given order, each as full as it can be; 64 KiB are left for names and configurations."""
    limit, sizes = int(max_mib * 2**20) - 2**16, {k: t.numel() * t.element_size() for k, t in tensors.items()}
    shards: list[dict[str, Tensor]] = []
    room = -1
    for key, tensor in tensors.items():
        if sizes[key] > limit:
            raise InputError(f"{key} alone needs {sizes[key] / 2**20:.1f} MiB: raise max_shard_mib ({max_mib:g})")
        if sizes[key] > room:
            shards.append({})
            room = limit
        shards[-1][key] = tensor
        room -= sizes[key]
    return shards


def _all_parts(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("part-*-of-*.safetensors"))
    total = int(paths[0].stem.rsplit("-", 1)[1]) if paths else 0
    expected = [folder / PART.format(number + 1, total) for number in range(total)]
    if not paths or paths != expected:
        missing = [path.name for path in expected if path not in paths]
        raise CheckpointError(f"{folder} holds no whole export: missing {', '.join(missing) or 'every part'}")
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["assemble"]:
        parser = argparse.ArgumentParser(prog="infinitemesh.train.export assemble")
        parser.add_argument("folder", type=Path)
        parser.add_argument("--parts", type=Path, nargs="+", required=True, help="exports, or folders of networks")
        parser.add_argument("--base", default="small", help="a pipeline; `none` for fresh stages")
        parser.add_argument("--preset", default="small")
        parser.add_argument("--set", action="append", default=[], metavar="STAGE.SETTING=VALUE")
        parser.add_argument("--eight-bit", nargs="+", default=[], metavar="NETWORK", help="such as reconstruction")
        parser.add_argument(
            "--six-bit",
            nargs="+",
            default=[],
            metavar="NETWORK/PREFIX",
            help="such as reconstruction/semantics.backbone., of networks that are in 8 bits",
        )
        parser.add_argument("--overwrite", action="store_true")
        args = parser.parse_args(given[1:])
        weights = [_unpacked_beside(part) for part in args.parts]
        base = None if args.base == "none" else args.base
        assemble(
            args.folder,
            weights,
            base=base,
            preset=args.preset,
            settings=args.set,
            eight_bit=args.eight_bit,
            six_bit=_by_network(args.six_bit),
            overwrite=args.overwrite,
        )
        size = sum(path.stat().st_size for path in args.folder.rglob("*") if path.is_file())
        sys.stdout.write(f"{args.folder}: {size / 1e6:.1f} MB\n")
        return
    parser = argparse.ArgumentParser(prog="infinitemesh.train.export", description="Exports a run's weights.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max-shard-mib", type=float, default=15.0)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(given)
    paths = export_weights(args.weights, args.out, max_shard_mib=args.max_shard_mib, overwrite=args.overwrite)
    for path in paths:
        sys.stdout.write(f"{path}: {path.stat().st_size / 2**20:.1f} MiB\n")


def _by_network(places: Sequence[str]) -> dict[str, list[str]]:
    """NETWORK/PREFIX, as the command line takes them: network -> prefixes."""
    prefixes: dict[str, list[str]] = {}
    for place in places:
        name, slash, prefix = place.partition("/")
        if not slash:
            raise InputError(f"--six-bit {place}: write NETWORK/PREFIX, such as reconstruction/semantics.backbone.")
        prefixes.setdefault(name, []).append(prefix)
    return prefixes


def _unpacked_beside(part: Path) -> Path:
    """The folder itself when it holds networks; an export is unpacked beside its parts."""
    if not list(part.glob("part-*-of-*.safetensors")):
        return part
    return unpack(part, part / "unpacked", overwrite=True)


if __name__ == "__main__":
    main()
