"""Rings of views that the front half itself made of training objects, for training the reconstruction on them.

    python -m infinitemesh.train.generated_rings RUN/weights PACKS OUT --reconstruction FOLDER --entries 2048

What a reconstruction gets at inference differs from renders in ways that no list of degradations foresees. Objects are
kept by name, so any part of a pack finds its own again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from infinitemesh.data.materials import MaterialChances
from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.data.replay import RingSamples
from infinitemesh.data.rigs import Rig, RigRanges
from infinitemesh.errors import InputError
from infinitemesh.files import atomic_write, check_output
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewDiffusion
from infinitemesh.stages.main_views import DiffusedMainViews
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.stages.trajectories import TRAJECTORIES
from infinitemesh.stages.view_interpolation import DiffusedInterpolation
from infinitemesh.stages.view_sets import rgba, stack_cameras
from infinitemesh.train.view_groups import GroupMaker, GroupOptions, to_8_bit
from infinitemesh.train.views import coarse_renderers, halve, load_diffusion
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera

FRONTS = GroupOptions(
    photographed=0.9,
    framed=1.0,
    rigs=RigRanges(tilt_deg=(-15.0, 25.0), level=0.5, facing=0.4),
    materials=MaterialChances(new_texture=0.0, recolour=0.0),
)
"""Framed as at inference, in the objects' own colours, since points are supervised in those."""


@torch.no_grad()
def generate_rings(
    diffusion: ViewDiffusion,
    coarse: CoarseRenderer | None,
    pack: ObjectPack,
    num: int,
    seed: int,
    *,
    front_coarse: CoarseRenderer | None = None,
    sampling: Sampling = Sampling(steps=8),
    carry: float = 0.0,
    options: GroupOptions = FRONTS,
) -> RingSamples:
    """Twelve views of `num` random objects each, from a front to the whole ring, along one named trajectory.

    Main views are drawn after `front_coarse`, or after `coarse` as the others where there is none. `sampling` and
    `carry` are best those of the pipeline that the reconstruction will stand in.
    """
    if not isinstance(diffusion.autoencoder, ImageAutoencoder):
        raise InputError("rings are made by a front half with alpha; this one's autoencoder has none")
    generator = torch.Generator(pack.device).manual_seed(seed)
    maker = GroupMaker(pack, diffusion.autoencoder, coarse, diffusion.size, options)
    scene = maker.scene(num, generator)
    fronts = maker.view_sets(maker.fronts(scene, generator), MAIN_AZIMUTHS_DEG[:1])
    trajectory = list(TRAJECTORIES)[seed % len(TRAJECTORIES)]
    seeds = [derive_seed(seed, k) for k in range(num)]
    made = DiffusedMainViews(diffusion, coarse=front_coarse or coarse, sampling=sampling).batch(fronts, seeds=seeds)
    between = DiffusedInterpolation(
        diffusion, coarse=coarse, sampling=sampling, attend="ring", carry=carry, trajectory=trajectory
    )
    rings = between.batch(made, seeds=seeds)
    return RingSamples(
        scene.object_ids,
        scene.rig,
        stack_cameras([ring.camera for ring in rings]),
        torch.stack([to_8_bit(rgba(ring)) for ring in rings]),
    )


def save_rings(rings: RingSamples, pack: ObjectPack, path: str | Path, *, overwrite: bool = False) -> Path:
    columns = {
        "rotation": rings.rig.rotation,
        "scale": rings.rig.scale,
        "offset": rings.rig.offset,
        "cam_from_world": rings.camera.cam_from_world,
        "intrinsics": rings.camera.intrinsics,
        "rgba": rings.rgba,
    }
    names = [pack.names[i] for i in rings.object_ids.tolist()]
    with atomic_write(path, overwrite=overwrite) as temporary:
        stored = {name: column.cpu().contiguous() for name, column in columns.items()}
        save_file(stored, temporary, metadata={"objects": json.dumps(names)})
    return Path(path)


def load_rings(folder: str | Path, pack: ObjectPack) -> RingSamples:
    """Every ring in the folder whose object is in the pack, on the pack's device."""
    index = {name: i for i, name in enumerate(pack.names)}
    ids: list[int] = []
    columns: dict[str, list[Tensor]] = {}
    for path in sorted(Path(folder).glob("rings-*.safetensors")):
        try:
            with safe_open(path, framework="pt", device=str(pack.device)) as opened:
                names = json.loads(opened.metadata()["objects"])
                known = [row for row, name in enumerate(names) if name in index]
                ids += [index[names[row]] for row in known]
                for key in opened.keys():
                    columns.setdefault(key, []).append(opened.get_tensor(key)[known])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no generated rings ({error}): generate them again") from error
    if not ids:
        raise InputError(
            f"{folder} has no rings of the {len(pack)} objects: make some with infinitemesh.train.generated_rings"
        )
    whole = {name: torch.cat(parts) for name, parts in columns.items()}
    return RingSamples(
        torch.tensor(ids, device=pack.device),
        Rig(whole["rotation"], whole["scale"], whole["offset"]),
        Camera(whole["cam_from_world"], whole["intrinsics"]),
        whole["rgba"],
    )


def draw_rings(rings: RingSamples, num: int, generator: torch.Generator) -> RingSamples:
    """`num` of them, with repetition."""
    at = torch.randint(len(rings.object_ids), (num,), generator=generator, device=rings.rgba.device)
    rig = Rig(rings.rig.rotation[at], rings.rig.scale[at], rings.rig.offset[at])
    return RingSamples(rings.object_ids[at], rig, rings.camera[at], rings.rgba[at])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes rings of training objects with a trained front half.")
    parser.add_argument("weights", type=Path, help="what training the views wrote")
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--reconstruction", type=Path, help="makes the coarse renders")
    parser.add_argument("--single-view", type=Path, help="makes those of the front alone, along with it")
    parser.add_argument("--entries", type=int, default=2048)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--carry", type=float, default=0.0, help="share of the neighbours' colours in views between")
    parser.add_argument("--seed", type=int, default=0, help="of the first ring; another one makes other rings")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(arguments)
    pack = load_packs(args.packs, device=args.device)
    diffusion = load_diffusion(args.weights, device=args.device)
    front_coarse, coarse = coarse_renderers(args.reconstruction, args.single_view, device=args.device)
    if args.device != "cpu":
        nn.Module.to(diffusion, dtype=torch.bfloat16)
        for renderer in (front_coarse, coarse):
            if renderer is not None:
                halve(renderer)
    args.out.mkdir(parents=True, exist_ok=True)
    options = replace(FRONTS, supersample=1) if args.device == "cpu" else FRONTS
    for number in tqdm(range(args.entries // args.at_once), desc="rings", mininterval=5):
        seed = args.seed + number
        path = check_output(args.out / f"rings-{seed:06d}.safetensors")
        sampling = Sampling(steps=args.steps)
        rings = generate_rings(
            diffusion, coarse, pack, args.at_once, seed,
            front_coarse=front_coarse, sampling=sampling, carry=args.carry, options=options,
        )  # fmt: skip
        save_rings(rings, pack, path)
    sys.stdout.write(f"{args.entries // args.at_once * args.at_once} rings in {args.out}\n")


if __name__ == "__main__":
    main()
