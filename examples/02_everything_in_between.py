"""Looks at every step: the cut-out, the main views, the ring, the field, the mesh before and after texturing.

python examples/02_everything_in_between.py --photo photo.jpg --out out
"""

from jsonargparse import auto_cli

from infinitemesh import InfiniteMeshPipeline


def main(photo: str = "examples/images/robot.jpg", out: str = "robot", model: str = "small"):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    trace = pipeline.trace(photo, seed=0, on_progress=lambda stage, step, total: print(f"{stage} {step}/{total}"))

    print(trace.foreground.rgb.shape)  # 1 3 256 256, straight sRGB; its alpha is beside it
    print(trace.main_views.camera.azimuth_deg)  # 0, 90, 180, 270: front, right, back, left
    print(trace.views.rgb.shape)  # 12 3 256 256: the ring after interpolation
    print(trace.triplane.planes.shape)  # 3 c r r
    print(f"{len(trace.surface.faces):,} triangles, coloured at {trace.mesh.texture.shape[-1]} pixels a side")
    print(trace.seconds)  # of every stage
    print(trace.mesh.metadata["infinitemesh"]["seed"])  # how it was made; a GLB carries it too
    trace.save(out, overwrite=True)  # pictures, cameras.json, meshes, a turntable


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
