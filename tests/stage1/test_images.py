"""Image files: listed in order, read as the bytes their format means, or refused with a reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from Stage1.datasets import images
from Stage1.datasets.images import UnreadableImageError, list_images, read_image, scale_to_bytes
from Stage1.datasets.roco import find_images


def smooth(height: int = 40, width: int = 56) -> np.ndarray:
    """(H, W, 3) uint8, three different gradients."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4, columns * 4, 250 - 2 * rows - 2 * columns], axis=2).astype(np.uint8)


def planes(pixels: np.ndarray) -> torch.Tensor:
    """(H, W) or (H, W, C) as (1 or C, H, W)."""
    return torch.from_numpy(pixels)[None] if pixels.ndim == 2 else torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.fixture
def saved(tmp_path):
    def save(image: Image.Image | np.ndarray, name: str = "a.png", **options) -> Path:
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def test_a_folder_is_listed_in_the_order_of_its_paths(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for name in ("b.jpg", "a-b/1.png", "a/2.JPEG", "a/10.jpg", "a.jpg", "A/x.Jpg", ".hidden.jpg", "notes.txt"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    elsewhere.mkdir()
    (elsewhere / "3.jpg").touch()
    (tmp_path / "folder" / "link").symlink_to(elsewhere)
    paths = list_images(tmp_path / "folder")
    names = [path.relative_to(tmp_path / "folder").as_posix() for path in paths]
    assert names == ["A/x.Jpg", "a/10.jpg", "a/2.JPEG", "a-b/1.png", "a.jpg", "b.jpg", "link/3.jpg"]
    assert paths == sorted(paths)
    assert list_images(str(tmp_path / "folder")) == paths


def test_links_to_folders_above_and_beside_list_no_image_twice(tmp_path):
    for name in ("a/1.png", "b/2.png", "3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for link, target in {"loop": ".", "a/up": "..", "b/side": "../a", "c": "b"}.items():
        (tmp_path / link).symlink_to(target)
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)] == ["3.png", "a/1.png", "b/2.png"]


def test_a_published_folder_of_roco_is_found_by_its_link_too(tmp_path):
    for folder in ("all", "train/radiology"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "all/a.jpg").touch()
    (tmp_path / "train/radiology/images").symlink_to("../../all")
    (tmp_path / "train/loop").symlink_to("..")
    images = tmp_path / "train/radiology/images"
    assert find_images(tmp_path) == ([images / "a.jpg"], images)


def test_missing_and_empty_folders_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no folder .*absent, expected .*; set data_root"):
        list_images(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"found no image in .*; set data_root"):
        list_images(tmp_path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
@pytest.mark.parametrize("grey", [False, True])
def test_jpegs_hold_the_pixels_pillow_finds(saved, options, grey):
    image = Image.fromarray(smooth())
    path = saved(image.convert("L") if grey else image, "a.jpg", quality=90, **options)
    expected = planes(np.array(Image.open(path)))
    found = read_image(path)
    assert found.dtype == torch.uint8
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() <= 2  # builds of the same decoder may round differently


def test_grey_coded_as_rgb_is_one_plane(saved):
    grey = smooth()[..., 1]
    assert torch.equal(read_image(saved(np.stack([grey] * 3, axis=2))), planes(grey))
    jpeg = saved(Image.fromarray(grey).convert("RGB"), "a.jpg")
    assert torch.equal(read_image(jpeg), planes(np.array(Image.open(jpeg))[..., 0]))
    almost = np.stack([grey] * 3, axis=2)
    almost[1, 1, 2] ^= 1  # outside the coarse sample
    assert torch.equal(read_image(saved(almost)), planes(almost))


def test_exif_orientation_is_ignored(saved):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(saved(smooth(), "a.jpg", exif=exif)).shape == (3, 40, 56)


@pytest.mark.parametrize("bits", [7, 8, 10, 12, 16])
def test_grey_values_of_many_bits_are_scaled_not_clipped(saved, bits):
    values = np.linspace(0, 2**bits - 1, 600).reshape(20, 30).astype(np.uint16)
    expected = np.rint(values * (255 / (2 ** max(bits, 8) - 1))).astype(np.uint8)
    assert torch.equal(read_image(saved(values)), planes(expected))
    assert expected.max() == (255 if bits > 7 else 127)
    assert torch.equal(read_image(saved(values.astype(np.int32), "a.tif")), planes(expected))


def test_full_range_16_bit_values_are_divided_by_257(saved):
    values = np.arange(65536).reshape(256, 256).astype(np.uint16)
    assert torch.equal(read_image(saved(values)), planes(np.rint(values / 257).astype(np.uint8)))


def test_negative_values_start_at_black():
    assert scale_to_bytes(np.array([[-1000, 0, 3095]], np.int32)).tolist() == [[0, 62, 255]]


def test_fractions_go_from_minimum_to_maximum(saved):
    values = np.array([[-1.5, 0, 0.5], [np.nan, np.inf, 2.5]], np.float32)
    assert read_image(saved(values, "a.tif")).tolist() == [[[0, 96, 128], [0, 0, 255]]]
    for constant in (3.5, np.nan):
        assert not read_image(saved(np.full((2, 2), constant, np.float32), "a.tif")).any()


def test_16_bit_colour_is_read(tmp_path):
    wide = smooth().astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), wide[..., ::-1])
    assert torch.equal(read_image(tmp_path / "a.png"), planes(smooth()))


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("planes_of_alpha", [0, 1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colours_of_many_bits_are_scaled_as_grey_ones_are(tmp_path, bits, planes_of_alpha, ending):
    colours = np.random.default_rng(0).integers(0, 2**bits, (20, 30, 3)).astype(np.uint16)
    colours[0, 0, 0] = 2**bits - 1
    opaque = np.full((20, 30, planes_of_alpha), 65535, np.uint16)
    path = tmp_path / f"a{ending}"
    cv2.imwrite(str(path), np.dstack([colours[..., ::-1], opaque]))
    assert torch.equal(read_image(path.rename(tmp_path / "a.png")), planes(scale_to_bytes(colours)))
    assert read_image(tmp_path / "a.png").max() == 255


@pytest.mark.parametrize("adobe", [False, True])
def test_four_ink_jpegs_are_as_bright_as_pillow_says(saved, adobe):
    inks = Image.fromarray(np.dstack([smooth(), np.full((40, 56), 20, np.uint8)]), "CMYK")
    path = saved(inks, "a.jpg", quality=95)
    content = path.read_bytes()
    assert b"Adobe" in content
    if not adobe:  # without Adobe's marker the values are not inverted
        start = content.index(b"\xff\xee")
        path.write_bytes(content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :])
    found = read_image(path)
    assert torch.equal(found, planes(np.array(Image.open(path).convert("RGB"))))
    if adobe:
        assert (found.int() - planes(np.array(inks.convert("RGB"))).int()).abs().float().mean() < 3


def test_ycck_jpegs_are_converted(saved):
    content = saved(Image.fromarray(np.full((8, 8, 4), (255, 128, 128, 0), np.uint8), "CMYK"), "a.jpg").read_bytes()
    marker = content.index(b"Adobe")
    path = saved(smooth(), "b.jpg")
    path.write_bytes(content[: marker + 11] + b"\x02" + content[marker + 12 :])  # the same numbers declared as YCCK
    expected = planes(np.array(Image.open(path).convert("RGB")))
    assert torch.equal(read_image(path).expand(3, -1, -1), expected)
    assert read_image(path).float().mean() > 250


def test_transparent_pixels_lie_over_black(saved):
    colour = smooth(4, 6)
    alpha = np.zeros((4, 6), np.uint8)
    alpha[:, 2:4], alpha[:, 4:] = 128, 255
    expected = np.rint(colour * (alpha[..., None] / 255)).astype(np.uint8)
    assert torch.equal(read_image(saved(np.dstack([colour, alpha]))), planes(expected))
    grey = saved(np.dstack([colour[..., 0], alpha]))
    assert Image.open(grey).mode == "LA"
    assert torch.equal(read_image(grey), planes(expected[..., 0]))
    palette = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6), "P")
    palette.putpalette(colour.reshape(-1).tolist())
    transparent = saved(palette, transparency=alpha.reshape(-1).tobytes())
    assert torch.equal(read_image(transparent), planes(expected))
    palette.putalpha(Image.fromarray(alpha))
    with_alpha = saved(palette, "a.tif")
    assert Image.open(with_alpha).mode == "PA"
    assert torch.equal(read_image(with_alpha), planes(expected))


def test_palettes_bits_and_single_pixels_are_read(saved):
    palette = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6), "P")
    palette.putpalette(smooth(4, 6).reshape(-1).tolist())
    assert torch.equal(read_image(saved(palette)), planes(smooth(4, 6)))
    assert read_image(saved(np.eye(3, dtype=bool))).tolist() == (255 * torch.eye(3))[None].int().tolist()
    for name in ("a.png", "a.jpg"):
        assert read_image(saved(np.full((1, 1), 7, np.uint8), name)).tolist() == [[[7]]]


def test_the_format_is_the_contents_not_the_names(saved, tmp_path):
    saved(smooth(), "a.gif").rename(tmp_path / "a.jpg")
    assert read_image(str(tmp_path / "a.jpg")).shape == (3, 40, 56)


def test_the_limit_of_pixels_is_this_modules(saved, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("a.png", "a.jpg"):
        assert read_image(saved(smooth(), name)).shape == (3, 40, 56)
        with monkeypatch.context() as patch:
            patch.setattr(images, "MAX_PIXELS", 40 * 56 - 1)
            with pytest.raises(UnreadableImageError, match=r"^too large: 56 x 40 pixels$"):
                read_image(saved(smooth(), name))
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "grey.jpg", "progressive.jpg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(saved, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise[..., 0] if name == "grey.jpg" else noise)
    path = saved(image, name, **({"progressive": True} if name == "progressive.jpg" else {}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError, match=f"^truncated {'PNG' if name == 'a.png' else 'JPEG'}$"):
        read_image(path)


def test_a_jpeg_is_whole_only_with_its_last_byte(saved):
    path = saved(smooth(), "a.jpg")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UnreadableImageError, match=r"^truncated JPEG$"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"<html>404</html>", "not an image"), (b"\xff\xd8\xff", "not an image|truncated JPEG")],
)
def test_files_that_are_no_images_are_refused(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"^({reason})$"):
        read_image(tmp_path / "a.jpg")


def test_files_that_cannot_be_opened_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UnreadableImageError, match=r"^missing$"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableImageError, match=r"^is a directory$"):
        read_image(tmp_path)

    def deny(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", deny)  # the superuser may read any file
    with pytest.raises(UnreadableImageError, match=r"^permission denied$"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
def test_damage_anywhere_is_an_image_or_a_reason(saved, name):
    path = saved(smooth(), name)
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(50):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), 3):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert len(read_image(path)) in (1, 3)
        except UnreadableImageError as error:
            assert str(error) and "\n" not in str(error)


def test_memory_running_out_is_not_the_files_fault(saved, monkeypatch):
    path = saved(smooth())

    def fail(image, content):
        raise MemoryError

    monkeypatch.setattr(images, "_decode", fail)
    with pytest.raises(MemoryError):
        read_image(path)


def test_reading_leaves_pillow_silent(saved, recwarn, capfd):
    path = saved(Image.fromarray(np.zeros((4, 4), np.uint8), "P"), transparency=bytes(range(4)))
    assert read_image(path).shape == (1, 4, 4)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
