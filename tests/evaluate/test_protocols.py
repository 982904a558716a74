"""Protocol files are strict, complete, and change their hash with every value that changes a number."""

import math
from dataclasses import replace

import pytest

from infinitemesh.errors import InputError
from infinitemesh.evaluate.protocol import load_protocol, protocol_names
from infinitemesh.evaluate.published import published_groups
from infinitemesh.evaluate.recipes import load_recipe, planned
from infinitemesh.evaluate.rigs import Rig

NAMED = "crm30 orbit12 meshformer stability sync30 synthetic views12 views4 mainviews ivi photo".split()


def test_every_promised_protocol_is_there_and_named_as_its_file():
    assert set(NAMED) == set(protocol_names())
    for name in NAMED:
        protocol = load_protocol(name)
        assert protocol.name == name
        assert protocol.version >= 1
        assert protocol.photo is not None or protocol.given is not None or protocol.official_views


def test_the_hash_follows_the_values_and_not_the_words():
    crm = load_protocol("crm30")
    assert replace(crm, about="other words").sha256 == crm.sha256
    assert replace(crm, fit_box=False).sha256 != crm.sha256
    assert len({load_protocol(name).sha256 for name in NAMED}) == len(NAMED)


def test_results_that_are_stored_under_crm30_stay_valid():
    """The hash that README's tables print; a field that a protocol gains later must not change it while it is off."""
    crm = load_protocol("crm30")
    assert crm.sha256[:12] == "3fea5706abbb"
    assert replace(crm, fit_box=False, framed=True).sha256 != replace(crm, fit_box=False).sha256


def test_framed_says_where_the_mesh_of_a_photograph_stands():
    photo, crm, ivi = (load_protocol(name) for name in ("photo", "crm30", "ivi"))
    assert photo == replace(crm, name="photo", about=photo.about, fit_box=False, framed=True, volume=photo.volume)
    for protocol in (crm, replace(ivi, fit_box=False), replace(crm, fit_box=False, photo=None)):
        with pytest.raises(InputError, match=r"framed .* needs a photo, fit_box: false, and no views"):
            replace(protocol, framed=True)


def test_crm30_is_as_published():
    crm = load_protocol("crm30")
    assert crm.images is not None
    camera = crm.images.camera
    assert len(camera) == 24
    assert sorted(set(camera.elevation_deg.round().tolist())) == [0, 15, 30]
    assert crm.images.size == 512
    half = math.tan(math.radians(15))
    distance = crm.images.camera_distance
    assert 1 / math.sqrt(distance**2 - 1) == pytest.approx(0.9 * half)  # the unit sphere's outline fills 0.9


def test_unknown_keys_and_values_are_errors_that_give_advice(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nversion: 1\nabout: x\nphoto: {azimuth_deg: [0]}\n")
    with pytest.raises(InputError, match=r"Rig has no field `azimuth_deg`\. Did you mean `azimuths_deg`"):
        load_protocol(path)
    path.write_text("name: own\nversion: one\nabout: x\n")
    with pytest.raises(InputError, match="version: 'one' is not of the kind int"):
        load_protocol(path)
    path.write_text("name: own\nabout: x\n")
    with pytest.raises(InputError, match="needs version"):
        load_protocol(path)
    path.write_text("name: [")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        load_protocol(path)
    with pytest.raises(InputError, match="no protocol is called 'crm31'"):
        load_protocol("crm31")


def test_your_own_protocol_is_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nversion: 3\nabout: x\nphoto: {size: 64}\nvolume: {resolution: 32}\n")
    protocol = load_protocol(path)
    assert protocol.label == "own v3"
    assert protocol.photo == Rig(size=64)
    assert protocol.volume is not None
    assert protocol.volume.resolution == 32


def test_published_numbers_name_their_source_and_protocol():
    groups = published_groups()
    assert {group.protocol for group in groups} <= set(NAMED)
    assert len({group.label for group in groups}) == len(groups)
    for group in groups:
        assert group.about
        assert all(row.source for row in group.rows)
    ours = next(row for row in groups[0].rows if row.system == "InfiniteMesh")
    assert ours.values[:4] == (0.0101, 0.6399, 0.7765, 18.32)


def test_recipes_can_be_run_as_they_are(recipe_files):
    assert {path.stem for path in recipe_files} >= {"interpolation", "trajectories", "fusion", "true_views", "sampling"}
    for path in recipe_files:
        recipe = load_recipe(path)
        assert recipe.name == path.stem
        for _, protocol in planned(recipe):
            load_protocol(protocol)


@pytest.fixture
def recipe_files(request):
    return sorted((request.config.rootpath / "configs" / "evaluate").glob("*.yaml"))
