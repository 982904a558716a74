import io
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from infinitemesh.errors import InputError
from infinitemesh.images import MAX_PIXELS, check_image, load_image

GENERATOR = np.random.default_rng(0)
COARSE = GENERATOR.integers(0, 256, (3, 4, 3), dtype=np.uint8)
PICTURE = np.kron(COARSE, np.ones((16, 16, 1), np.uint8))  # 48 x 64, colours in large blocks: JPEG keeps them


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def as_uint8(pixels):
    return (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def block_colours(pixels):
    """The colour in the middle of every block."""
    return as_uint8(pixels)[8::16, 8::16].astype(int)


@pytest.mark.parametrize(
    "options", [{"format": "PNG"}, {"format": "BMP"}, {"format": "TIFF"}, {"format": "WEBP", "lossless": True}]
)
def test_lossless_files_come_back_exactly(options, tmp_path):
    content = encoded(Image.fromarray(PICTURE), **options)
    np.testing.assert_array_equal(as_uint8(load_image(content)), PICTURE)
    (tmp_path / "named.wrongly").write_bytes(content)  # the content counts, not the name
    np.testing.assert_array_equal(as_uint8(load_image(tmp_path / "named.wrongly")), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(orientation):
    turned = Image.fromarray(PICTURE)
    undo = {
        2: "FLIP_LEFT_RIGHT",
        3: "ROTATE_180",
        4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE",
        6: "ROTATE_90",
        7: "TRANSVERSE",
        8: "ROTATE_270",
    }
    if orientation in undo:
        turned = turned.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = load_image(encoded(turned, format="JPEG", quality=95, subsampling=0, exif=exif))
    assert np.abs(block_colours(pixels) - COARSE.astype(int)).max() <= 6


def test_alpha_is_kept_in_every_form():
    alpha = np.zeros((48, 64), np.uint8)
    alpha[8:40, 8:56] = 200
    rgba = np.dstack([PICTURE, alpha])
    np.testing.assert_array_equal(as_uint8(load_image(encoded(Image.fromarray(rgba), format="PNG"))), rgba)
    grey = Image.merge("LA", [Image.fromarray(PICTURE[..., 0]), Image.fromarray(alpha)])
    la = load_image(encoded(grey, format="PNG"))
    assert la.shape == (4, 48, 64) and torch.equal(la[0], la[2])
    np.testing.assert_array_equal(as_uint8(la)[..., 3], alpha)
    palette = Image.fromarray(PICTURE).quantize(16)
    clear = load_image(encoded(palette, format="PNG", transparency=palette.getpixel((0, 0))))
    assert clear.shape[0] == 4 and clear[3, 0, 0] == 0 and clear[3].max() == 1
    assert load_image(encoded(palette, format="PNG")).shape[0] == 3


def png(width, height, bit_depth, colour_type, rows=b""):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits():
    values = GENERATOR.integers(0, 65536, (32, 32), dtype=np.uint16)
    grey = png(32, 32, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))
    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    torch.testing.assert_close(load_image(grey)[1], expected, atol=1e-6, rtol=0)
    rgb = GENERATOR.integers(0, 65536, (32, 32, 3), dtype=np.uint16)
    deep = png(32, 32, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb))
    expected = torch.from_numpy(rgb.astype(np.float32) / 65535).permute(2, 0, 1)
    torch.testing.assert_close(load_image(deep), expected, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX", "I", "F", "I;16"])
def test_every_mode_of_pillow_becomes_rgb(mode):
    grey = Image.fromarray(PICTURE[..., 0])
    if mode in ("I", "F", "I;16"):
        values = PICTURE[..., 0].astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode])
        image = Image.fromarray(values * 257 if mode != "F" else values / 255)
        reference = torch.from_numpy(PICTURE[..., 0] / 255).float().expand(3, -1, -1)
    else:
        image = (grey if mode in ("1", "L") else Image.fromarray(PICTURE)).convert(mode)
        reference = torch.from_numpy(np.asarray(image.convert("RGB")) / 255).float().permute(2, 0, 1)
    torch.testing.assert_close(load_image(image), reference, atol=1e-6, rtol=0)


def test_cmyk_jpegs_have_their_colours():
    image = Image.fromarray(PICTURE).convert("CMYK")
    pixels = load_image(encoded(image, format="JPEG", quality=95, subsampling=0))
    assert pixels.shape == (3, 48, 64) and np.abs(block_colours(pixels) - COARSE.astype(int)).max() <= 8


def test_profiles_are_applied_and_damaged_ones_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_is_green = profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    image = Image.fromarray(PICTURE)
    for applied, expected in ((profile, PICTURE), (red_is_green, PICTURE[..., [1, 0, 2]])):
        pixels = as_uint8(load_image(encoded(image, format="PNG", icc_profile=applied)))
        assert np.abs(pixels.astype(int) - expected).max() <= 2
    damaged = load_image(encoded(image, format="PNG", icc_profile=b"no profile at all"))
    np.testing.assert_array_equal(as_uint8(damaged), PICTURE)
    fitting_no_channel = load_image(encoded(image.convert("CMYK"), format="TIFF", icc_profile=profile))
    assert fitting_no_channel.shape == (3, 48, 64)


def test_animations_give_their_first_frame():
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    for options in ({"format": "PNG"}, {"format": "WEBP", "lossless": True}, {"format": "TIFF"}):
        content = encoded(frames[0], save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(as_uint8(load_image(content))[..., :3], PICTURE)


def test_arrays_and_tensors_of_every_kind():
    floats = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
    for source in (
        PICTURE,
        PICTURE.astype(np.uint16) * 257,
        PICTURE / 255.0,
        floats,
        floats.double(),
        floats.mul(255).byte(),
    ):
        torch.testing.assert_close(load_image(source), floats, atol=1e-6, rtol=0)
    assert load_image(PICTURE[..., :2]).shape == (4, 48, 64) and load_image(PICTURE[..., 0]).shape == (3, 48, 64)
    assert load_image(PICTURE[..., 0] > 100).unique().tolist() == [0, 1]
    swapped = (PICTURE.astype(np.uint16) * 257).astype(">u2")
    torch.testing.assert_close(load_image(swapped), floats, atol=1e-6, rtol=0)


def test_large_pictures_are_reduced_without_mixing_in_hidden_colours():
    assert load_image(np.full((200, 100, 3), 255, np.uint8), max_side=50).shape == (3, 50, 25)
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[:, 50:] = [0, 255, 0, 0]  # a green that nobody sees
    rgba[:, :50] = [255, 0, 0, 255]
    reduced = load_image(rgba, max_side=30)
    assert reduced.shape == (4, 30, 30) and reduced[1][reduced[3] > 0.01].max() < 1e-4
    jpeg = encoded(Image.fromarray(np.kron(PICTURE, np.ones((10, 10, 1), np.uint8))), format="JPEG")
    assert load_image(jpeg, max_side=64).shape == (3, 48, 64)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"this is text", "not a readable PNG"),
        (b"", "not a readable PNG"),
        (encoded(Image.new("RGB", (64, 64)), format="GIF"), "not a readable PNG"),
        (encoded(Image.new("RGB", (1, 1)), format="PNG"), "1 x 1 pixels"),
        (png(40_000, 40_000, 8, 2), "pixels"),
        (png(10_000, 8_000, 8, 2), "10000 x 8000"),
        (encoded(Image.fromarray(PICTURE), format="PNG")[:-200], "not a readable PNG"),
        (encoded(Image.fromarray(PICTURE), format="JPEG")[:300], "not a readable PNG"),
        (12, "got int"),
        (np.zeros((4, 4, 4, 4)), "no picture"),
        (np.full((32, 32, 3), np.nan), "NaN"),
        (np.full((32, 32, 3), 200.0), "divide 8-bit values by 255"),
        (np.zeros((32, 32), np.int64), "no known range"),
        (Image.fromarray(np.full((32, 32), 70_000, np.int32)), "16 bits"),
    ],
)
def test_what_is_no_picture_is_refused_at_once(content, message):
    start = time.perf_counter()
    with pytest.raises(InputError, match=message):
        load_image(content)
    assert time.perf_counter() - start < 1


def test_a_file_is_checked_by_its_head_as_it_will_be_when_it_is_read(tmp_path):
    contents = {
        "good": encoded(Image.fromarray(PICTURE), format="PNG"),
        "text": b"this is text",
        "small": encoded(Image.new("RGB", (1, 1)), format="PNG"),
        "huge": png(40_000, 40_000, 8, 2),
        "large": png(10_000, 8_000, 8, 2),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        refused = [None, None]
        for k, read in enumerate((check_image, load_image)):
            try:
                read(path)
            except InputError as error:
                refused[k] = str(error)
        assert refused[0] == refused[1]
        assert (refused[0] is None) == (name == "good")


def test_paths_that_are_no_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / "text.png", "/dev/zero", str(tmp_path / "missing.png")):
        with pytest.raises(InputError):
            load_image(path)
    assert 5000**2 < MAX_PIXELS < 9000**2


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_raise_nothing_but_input_errors():
    formats = ({"format": "PNG"}, {"format": "JPEG"}, {"format": "WEBP"}, {"format": "BMP"}, {"format": "TIFF"})
    for options in formats:
        content = np.frombuffer(encoded(Image.fromarray(PICTURE), **options), np.uint8)
        for seed in range(60):
            damaged = content.copy()
            rng = np.random.default_rng(seed)
            damaged[rng.integers(0, min(len(damaged), 400), 3)] = rng.integers(0, 256, 3)
            try:
                assert torch.isfinite(load_image(damaged.tobytes())).all()
            except InputError:
                pass
