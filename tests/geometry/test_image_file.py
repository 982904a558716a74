"""Pictures keep every value, and the same picture is the same bytes however many cores wrote it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from infinitemesh.geometry.image_file import ROWS_PER_STRIP, decode_image, encode_image


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("height", [1, ROWS_PER_STRIP, ROWS_PER_STRIP + 1, 3 * ROWS_PER_STRIP - 7])
@pytest.mark.parametrize("width", [1, 50])
def test_a_png_holds_every_value_and_other_readers_take_it(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    content = encode_image(image, "png")
    with Image.open(io.BytesIO(content)) as opened:
        opened.verify()  # checksums of the chunks
    np.testing.assert_array_equal(decode_image(content, "test"), image)


def test_a_view_into_a_picture_is_written_as_it_reads():
    image = np.random.default_rng(0).integers(0, 256, (3, 70, 40)).astype(np.uint8).transpose(1, 2, 0)[::2]
    np.testing.assert_array_equal(decode_image(encode_image(image, "png"), "test"), image)


def test_the_number_of_cores_does_not_change_the_bytes(set_threads):
    image = np.random.default_rng(0).integers(0, 4, (5 * ROWS_PER_STRIP, 30, 3)).astype(np.uint8)
    contents = []
    for count in (1, 2):
        set_threads(count)
        contents.append(encode_image(image, "png"))
    assert contents[0] == contents[1]


def test_a_smooth_picture_is_no_larger_than_pillow_makes_it():
    y, x = np.mgrid[:256, :256]
    noise = np.random.default_rng(0).integers(0, 3, (256, 256))
    image = np.stack([x // 3 + noise, y // 2 + noise, (x + y) // 4 + noise], axis=-1).astype(np.uint8)
    other = io.BytesIO()
    Image.fromarray(image).save(other, format="PNG", compress_level=6)
    assert len(encode_image(image, "png")) < 1.05 * len(other.getvalue())
