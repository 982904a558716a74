"""What can be measured: anything that makes a mesh of what a protocol hands out.

To measure your own method, fill `System.mesh_of`; to measure meshes that another program made, `FinishedMeshes`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from infinitemesh.errors import CheckpointError, InfiniteMeshError, InputError
from infinitemesh.evaluate.align import Similarity
from infinitemesh.evaluate.framing import photo_from_truth
from infinitemesh.evaluate.overrides import apply_overrides
from infinitemesh.evaluate.protocol import Protocol
from infinitemesh.evaluate.truth import SUFFIXES, Case, sha256_of
from infinitemesh.types import Mesh, ViewSet

if TYPE_CHECKING:
    from infinitemesh.pipeline import InfiniteMeshPipeline

Frame = Literal["world", "photo"]


class MissingMesh(InputError):
    """A folder of finished meshes lacks an object."""


class Measurable:
    """What every measured thing has.

    `parallel`: copies may work in worker processes (it can be pickled, and does not fill a GPU); others work in the
    main process while the workers measure.
    """

    name: str = "system"
    device: str = "cpu"
    parallel: bool = False

    def fingerprint(self, case: Case) -> str:
        """What the result depends on, besides the case: a stored result is used again while this stays the same."""
        return self.name

    def check(self, protocol: Protocol) -> None:
        """Raises an InfiniteMeshError, before any work, where the system cannot take part in the protocol at all."""


class System(Measurable, ABC):
    """What makes meshes. A subclass makes the mesh of one case (`mesh_of`).

    `frame` world: the mesh stands as the truth does. `photo`: it stands as if the photograph had been taken from
    azimuth 0 and elevation 0, and is turned by where it was taken from; under a `framed` protocol it also has the place
    and size that the framing rule gives to what the photograph shows.
    """

    frame: Frame = "world"

    @abstractmethod
    def mesh_of(self, case: Case) -> Mesh:
        """The result for `case.photo()` or `case.given_views()`; any InfiniteMeshError counts as a failure."""

    def meshes_of(self, cases: Sequence[Case]) -> Sequence[Mesh | InfiniteMeshError]:
        """Several at once, for systems that are faster so, with an error in the place of one that failed.

        When it raises, each case is tried alone.
        """
        return [self.mesh_of(case) for case in cases]


class ViewSystem(Measurable, ABC):
    """What makes views. A subclass makes them for one case (`views_of`)."""

    @abstractmethod
    def views_of(self, case: Case) -> ViewSet:
        """Views for `case.photo()` or `case.given_views()`: those that the protocol compares, and others if you like.

        Orthographic, in the photograph's world; with a photograph, the framed front view itself must be among them.
        """

    def views_of_all(self, cases: Sequence[Case]) -> Sequence[ViewSet | InfiniteMeshError]:
        """Several at once, as `System.meshes_of`."""
        return [self.views_of(case) for case in cases]

    def mesh_from(self, views: ViewSet) -> Mesh | None:
        """The system's own reconstruction of its views, for the consistency score; None: there is none."""
        return None


class FinishedMeshes(System):
    """A folder with one mesh an object, named as the truth is: from any program."""

    parallel = True

    def __init__(self, folder: str | Path, *, frame: Frame = "world", name: str | None = None) -> None:
        self.folder, self.frame = Path(folder), frame
        if not self.folder.is_dir():
            raise InputError(f"no folder of meshes at {self.folder}")
        self.name = name or self.folder.name

    def mesh_of(self, case: Case) -> Mesh:
        return Mesh.load(self.file_of(case))

    def file_of(self, case: Case) -> Path:
        """It is measured where it lies."""
        path = self._path(case)
        if path is None:
            raise MissingMesh(f"{self.folder} has no mesh called {case.name} ({', '.join(SUFFIXES)})")
        return path

    def fingerprint(self, case: Case) -> str:
        path = self._path(case)
        return f"finished {self.frame} {'missing' if path is None else sha256_of(path)}"

    def _path(self, case: Case) -> Path | None:
        found = [self.folder / f"{case.name}{suffix}" for suffix in SUFFIXES]
        return next((path for path in found if path.is_file()), None)


class ReconstructionSystem(System):
    """A function from posed views to a mesh, in the views' world.

    `version` names what the function depends on (weights, settings); results are reused while it stays the same.
    """

    def __init__(
        self, views_to_mesh: Callable[[ViewSet], Mesh], *, name: str, version: str = "", parallel: bool = False
    ) -> None:
        self.views_to_mesh, self.name, self.version, self.parallel = views_to_mesh, name, version, parallel

    def mesh_of(self, case: Case) -> Mesh:
        return self.views_to_mesh(case.given_views())

    def fingerprint(self, case: Case) -> str:
        return f"{self.name} {self.version}"


class PipelineSystem(System):
    """A whole pipeline by preset name, folder or hub id, with settings changed (`overrides.apply_overrides`).

    Protocols that hand out posed views and no photograph measure its back half: reconstruction, surface, texturing.
    """

    frame = "photo"

    def __init__(
        self,
        pipeline: str = "small",
        overrides: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.source, self.overrides, self.device, self.seed = pipeline, dict(overrides or {}), device, seed
        changes = " ".join(f"{key}={value}" for key, value in self.overrides.items())
        self.name = name or f"{Path(pipeline).name} {changes}".strip()
        self.parallel = device == "cpu"

    @cached_property
    def pipeline(self) -> "InfiniteMeshPipeline":
        return apply_overrides(_opened(self.source, self.device), self.overrides)

    def check(self, protocol: Protocol) -> None:
        if protocol.gives_photo and protocol.given is None:
            check_stages(
                self.pipeline,
                ("foreground", "main_views", "view_interpolation"),
                f"{protocol.label} gives a photograph",
            )

    def mesh_of(self, case: Case) -> Mesh:
        made = self.meshes_of([case])[0]
        if isinstance(made, InfiniteMeshError):
            raise made
        return made

    def meshes_of(self, cases: Sequence[Case]) -> list[Mesh | InfiniteMeshError]:
        if not cases[0].protocol.gives_photo:
            return [self._mesh_of_views(case) for case in cases]
        made = self.pipeline.try_batch([case.photo() for case in cases], self.seed)
        return [one if isinstance(one, InfiniteMeshError) else one.mesh for one in made]

    def _mesh_of_views(self, case: Case) -> Mesh | InfiniteMeshError:
        try:
            return self.pipeline.views_to_mesh(case.given_views(), seed=self.seed)
        except InfiniteMeshError as error:
            return error

    def fingerprint(self, case: Case) -> str:
        """Of weights and of all settings in force: a setting that is the default's changes nothing."""
        made_with = self.pipeline.provenance()
        return hashlib.sha256(json.dumps([made_with, self.seed], default=str, sort_keys=True).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Workers load the pipeline themselves."""
        return {key: value for key, value in self.__dict__.items() if key != "pipeline"}


def check_stages(pipeline: "InfiniteMeshPipeline", stages: Sequence[str], why: str) -> None:
    """Raises CheckpointError where the pipeline lacks one of them."""
    for stage in stages:
        if getattr(pipeline, stage) is None:
            reason = pipeline.absent.get(stage, f"the pipeline {pipeline.name} was built without {stage}")
            raise CheckpointError(f"{why}, but {reason}")


@lru_cache(maxsize=1)
def _opened(source: str, device: str) -> "InfiniteMeshPipeline":
    """The last one stays open: rows of a recipe, and the tasks of a worker, share its networks."""
    from infinitemesh.pipeline import InfiniteMeshPipeline

    return InfiniteMeshPipeline.from_pretrained(source, device=device)


def in_world(mesh: Mesh, case: Case, frame: Frame) -> Mesh:
    """A result as the protocol's truth stands."""
    placed = placing(case, frame)
    return mesh if placed is None else placed.inverse.apply(mesh)


def placing(case: Case, frame: Frame) -> Similarity | None:
    """result_from_truth, as far as the photograph says it; None: given views, and their results, stand in the world."""
    if frame == "world" or not case.protocol.gives_photo:
        return None
    if case.protocol.framed:
        return photo_from_truth(case)
    return Similarity(case.photo_camera().cam_from_world[0, :3, :3], 1.0, torch.zeros(3))
