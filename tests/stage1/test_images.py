"""Reading image files: every kind that collections hold is converted rightly, damaged ones are told by reason."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from Stage1.datasets.images import UnreadableImageError, list_images, read_image, scale_grey

RANDOM = np.random.default_rng(0)
RGB = Image.fromarray(RANDOM.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((50, 40), Image.Resampling.BICUBIC)
GREY = RGB.convert("L")


def channels_last(tensor):
    return tensor.permute(1, 2, 0).numpy()


def test_lists_images_of_all_kinds_and_folders_in_order(tmp_path):
    (tmp_path / "deeper").mkdir()
    for name in ("b.jpg", "a.JPEG", "deeper/c.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)] == ["a.JPEG", "b.jpg", "deeper/c.png"]


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 30}, {"subsampling": 0}, {"progressive": True}, {"exif": {0x112: 6}}],
    ids=["plain", "coarse", "all chroma", "progressive", "to be turned"],
)
@pytest.mark.parametrize("image", [RGB, GREY], ids=["RGB", "grey"])
def test_jpegs_have_pillow_s_pixels(tmp_path, image, options):
    if "exif" in options:
        exif = Image.Exif()
        exif.update(options["exif"])
        options = {"exif": exif}
    image.save(tmp_path / "a.jpg", **options)
    pixels = read_image(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as reference:
        expected = np.asarray(reference).reshape(40, 50, -1)
    np.testing.assert_array_equal(channels_last(pixels), expected)


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_grey_stored_as_rgb_has_one_channel(tmp_path, extension):
    GREY.convert("RGB").save(tmp_path / f"a.{extension}")
    pixels = read_image(tmp_path / f"a.{extension}")
    assert pixels.shape == (1, 40, 50)
    np.testing.assert_allclose(pixels[0].numpy().astype(int), np.asarray(GREY), atol=8 if extension == "jpg" else 0)


def test_one_coloured_pixel_keeps_the_channels(tmp_path):
    image = GREY.convert("RGB")
    image.putpixel((49, 39), (255, 0, 0))
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(channels_last(read_image(tmp_path / "a.png")), np.asarray(image))


@pytest.mark.parametrize(
    ("maximum", "divisor"), [(65535, 257), (40000, 257), (4095, 4095 / 255), (3000, 4095 / 255), (255, 1), (9, 1)]
)
def test_16_bits_are_scaled_and_never_clipped(tmp_path, maximum, divisor):
    values = np.linspace(0, maximum, 2000).round().astype(np.uint16).reshape(40, 50)
    Image.fromarray(values).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode.startswith("I")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (1, 40, 50)
    np.testing.assert_array_equal(pixels[0].numpy(), np.rint(values / divisor))


def test_signed_and_floating_point_greys_are_scaled():
    np.testing.assert_array_equal(scale_grey(np.array([[-1000, 0, 1000]], np.int32)), [[0, 125, 249]])
    np.testing.assert_array_equal(scale_grey(np.array([[-0.5, 0.0, 0.5]], np.float32)), [[0, 128, 255]])
    with pytest.raises(UnreadableImageError, match="not finite"):
        scale_grey(np.array([[np.nan, 1.0]]))


def test_cmyk_is_converted_as_pillow_does(tmp_path):
    RGB.convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    pixels = channels_last(read_image(tmp_path / "a.jpg")).astype(int)
    np.testing.assert_allclose(pixels, np.asarray(RGB).astype(int), atol=12)


def test_transparency_shows_black(tmp_path):
    image = RGB.convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[255] * 25 + [0] * 25]), 40, axis=0)))
    image.save(tmp_path / "rgba.png")
    GREY.convert("LA").save(tmp_path / "la.png")
    pixels = channels_last(read_image(tmp_path / "rgba.png"))
    np.testing.assert_array_equal(pixels[:, :25], np.asarray(RGB)[:, :25])
    assert (pixels[:, 25:] == 0).all()
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[0].numpy(), np.asarray(GREY))


def test_palettes_and_bits(tmp_path):
    palette = RGB.quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(channels_last(read_image(tmp_path / "p.png")), np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "transparent.png", transparency=3)
    pixels = channels_last(read_image(tmp_path / "transparent.png"))
    chosen = np.asarray(palette) == 3
    assert (pixels[chosen] == 0).all()
    np.testing.assert_array_equal(pixels[~chosen], np.asarray(palette.convert("RGB"))[~chosen])
    GREY.convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "1"])
def test_one_pixel(tmp_path, mode):
    Image.new(mode, (1, 1)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0]]]


def test_scanned_films_are_read_without_a_warning(tmp_path, recwarn):
    Image.new("L", (12000, 9000), 7).save(tmp_path / "film.png", compress_level=1)
    pixels = read_image(tmp_path / "film.png")
    assert pixels.shape == (1, 9000, 12000)
    assert pixels[0, -1, -1] == 7
    assert not list(recwarn)


@cache
def damaged_files():
    buffer = io.BytesIO()
    RGB.save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    buffer = io.BytesIO()
    RGB.save(buffer, "PNG")
    png = buffer.getvalue()
    buffer = io.BytesIO()
    Image.new("1", (30000, 20000)).save(buffer, "PNG")
    return {
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "end_missing.jpg": (jpeg[:-2], "truncated"),
        "header.jpg": (jpeg[:100], "truncated"),
        "half.png": (png[: len(png) // 2], "truncated"),
        "page.jpg": (b"<html>not found</html>", "not an image"),
        "empty.jpg": (b"", "empty file"),
        "enormous.png": (buffer.getvalue(), "too large: 30000 x 20000"),
    }


@pytest.mark.parametrize("name", damaged_files())
def test_damaged_files_are_told_by_reason(tmp_path, name):
    content, reason = damaged_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / name)


def test_missing_files_and_folders_are_unreadable(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnreadableImageError, match="missing"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImageError, match="is a directory"):
        read_image(tmp_path)
