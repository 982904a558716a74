import pytest
import torch

from infinitemesh.data.rigs import random_rigs
from infinitemesh.data.shards import read_view_shards, write_view_shards
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras, ring_angles
from infinitemesh.errors import InputError


def test_stored_views_are_the_rendered_ones(pack, tmp_path):
    (path,) = write_view_shards(pack, tmp_path, num_samples=3, num_views=4, size=24, batch=3)
    generator = torch.Generator().manual_seed(0)
    ids = draw_objects(pack, 3, generator)
    camera = orbit_cameras(*ring_angles(3, generator, num_views=4))
    true = render_batch(pack, ids, random_rigs(pack, ids, generator), camera, size=24)
    samples = list(read_view_shards([path]))
    assert [s.name for s in samples] == [pack.names[i] for i in ids.tolist()]
    for row, sample in enumerate(samples):
        torch.testing.assert_close(sample.views.rgb, true.rgb[row], atol=0.5 / 255 + 1e-6, rtol=0)
        torch.testing.assert_close(sample.views.alpha, true.alpha[row], atol=0.5 / 255 + 1e-6, rtol=0)
        torch.testing.assert_close(sample.views.normal, true.normal[row], atol=1 / 255 + 1e-6, rtol=0)
        torch.testing.assert_close(sample.depth, true.depth[row], atol=2e-3, rtol=0)
        torch.testing.assert_close(sample.views.camera.cam_from_world, camera[row].cam_from_world)
        assert sample.views.is_main.tolist() == [True] * 4


def test_shards_split_repeat_and_are_whole(pack, tmp_path):
    options = dict(num_samples=5, samples_per_shard=2, num_views=3, size=8, batch=2, seed=4)
    first, again = (
        write_view_shards(pack, tmp_path / "a", **options),
        write_view_shards(pack, tmp_path / "b", **options),
    )
    assert len(first) == 3 and len(list(read_view_shards(first))) == 5
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    with pytest.raises(InputError):
        write_view_shards(pack, tmp_path / "a", **options)
    first[0].write_bytes(first[0].read_bytes()[:700])
    with pytest.raises(InputError, match="write it again"):
        list(read_view_shards(first))
