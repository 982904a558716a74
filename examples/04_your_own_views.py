"""Uses your own pictures: some of the main views (the missing ones are made), or a whole ring of posed views.

python examples/04_your_own_views.py --pictures '{0: front.jpg, 90: right.jpg}' --out out.glb
python examples/04_your_own_views.py --folder views --out out.glb                 views/cameras.json says where from
"""

from jsonargparse import auto_cli

from infinitemesh import InfiniteMeshPipeline
from infinitemesh.stages.main_views import GivenViews, given_views
from infinitemesh.view_folder import views_from_folder


def main(pictures: dict[int, str] | None = None, folder: str | None = None, out: str = "own.glb", model: str = "small"):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    if folder is not None:
        mesh = pipeline.views_to_mesh(views_from_folder(folder))
    else:
        pictures = pictures or {0: "examples/images/robot.jpg"}
        views = given_views({float(azimuth): pipeline.foreground(path) for azimuth, path in pictures.items()})
        main_views = GivenViews(views, rest=pipeline.main_views)
        mesh = pipeline.with_stages(main_views=main_views).trace_front(views[:1]).mesh
    mesh.save(out, overwrite=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
