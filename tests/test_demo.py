"""The page in the browser: what it makes, what it says, and what it needs."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny import cut_out, tiny_pipeline

from infinitemesh.cli import main
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.types import Mesh


@pytest.mark.skipif(find_spec("gradio") is not None, reason="gradio is here")
def test_without_its_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(InfiniteMeshPipeline, "from_pretrained", lambda *_: pytest.fail("weights were loaded"))
    assert main(["demo"]) == 1
    assert "pip install 'infinitemesh[demo]'" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is an extra")
def test_the_page_makes_views_and_a_mesh_and_shows_errors(tmp_path: Path):
    gradio = pytest.importorskip("gradio")
    from infinitemesh.demo import demo_page

    page = demo_page(tiny_pipeline(), tmp_path)
    cut_out().save(tmp_path / "egg.png")
    views, mesh = page.fn(str(tmp_path / "egg.png"), 0)
    assert min(views.size) > 64
    assert len(Mesh.load(mesh).faces) > 100
    (tmp_path / "text.png").write_text("no picture")
    for photo, words in ((None, "choose a photograph"), (str(tmp_path / "text.png"), "not a readable PNG")):
        with pytest.raises(gradio.Error, match=words):
            page.fn(photo, 0)
