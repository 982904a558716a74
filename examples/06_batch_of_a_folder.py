"""All photographs of a folder, several at once; one that cannot be used does not stop the others.

python examples/06_batch_of_a_folder.py --photos photos --out meshes --batch_size 8
"""

from pathlib import Path

from jsonargparse import auto_cli

from infinitemesh import InfiniteMeshError, InfiniteMeshPipeline


def main(photos: str = "examples/images", out: str = "meshes", model: str = "small", batch_size: int = 4):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    paths = sorted(path for path in Path(photos).iterdir() if path.suffix in (".jpg", ".jpeg", ".png", ".webp"))
    Path(out).mkdir(exist_ok=True)
    for first in range(0, len(paths), batch_size):
        batch = paths[first : first + batch_size]
        for path, trace in zip(batch, pipeline.try_batch(batch), strict=True):
            if isinstance(trace, InfiniteMeshError):
                print(f"{path}: {trace}")
            else:
                trace.mesh.save(Path(out) / f"{path.stem}.glb", overwrite=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
