"""Pictures of every kind open as upright RGB, or are named."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vlfuse.data.images import load_image, load_oriented, upright_box
from vlfuse.data.problems import SampleError


def encoded(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def noise(height: int = 40, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("colour", "mode", "options"),
    [(90, "L", {}), ((200, 10, 30), "RGB", {}), (1, "1", {}), ((9, 8, 7), "P", {})],
)
def test_simple_modes(colour, mode, options):
    picture = Image.new("RGB", (5, 4), colour) if mode == "P" else Image.new(mode, (5, 4), colour)
    expected = picture.convert("RGB")
    picture = picture.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else picture
    assert np.array_equal(np.asarray(load_image(encoded(picture))), np.asarray(expected))


def test_transparency_is_laid_over_white():
    assert load_image(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(encoded(Image.new("LA", (2, 2), (0, 255)))).getpixel((0, 0)) == (0, 0, 0)
    keyed = Image.new("P", (2, 2), 0)
    keyed.putpalette([10, 20, 30, 40, 50, 60])
    keyed.putpixel((1, 1), 1)
    picture = load_image(encoded(keyed, transparency=0))
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert picture.getpixel((1, 1)) == (40, 50, 60)


def test_cmyk():
    picture = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = picture.getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    picture = load_image(encoded(Image.fromarray(values), format))
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floating_point_values_are_stretched():
    picture = load_image(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)))
    assert np.asarray(picture)[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_and_its_boxes(orientation):
    stored = Image.new("RGB", (40, 24), "black")
    box = (4, 2, 14, 8)
    stored.paste((255, 255, 255), box)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture, found = load_oriented(encoded(stored, exif=exif))
    assert found == orientation
    assert picture.size == ((40, 24) if orientation < 5 else (24, 40))
    rows, columns = np.nonzero(np.asarray(picture)[..., 0])
    extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert upright_box(box, orientation, (40, 24)) == extent


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "1.png")
    assert load_image(str(tmp_path / "1.png")).getpixel((0, 0)) == (255, 0, 0)


def test_arrays_and_opened_pictures():
    array = np.asarray(noise())
    assert np.array_equal(np.asarray(load_image(array)), array)
    assert np.array_equal(np.asarray(load_image(noise())), array)
    with pytest.raises(SampleError, match=r"float64 \(2, 2\); pictures are \[height, width, 3\] uint8"):
        load_image(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (encoded(noise(), "JPEG")[:900], "broken image", "cannot be decoded .*truncated.*fetch it again"),
        (encoded(noise())[:400], "broken image", "cannot be decoded"),
        (b"<html>404</html>", "broken image", "not a picture Pillow can read"),
        (b"", "broken image", "is empty"),
        (png_header(30_000, 30_000), "oversized image", "too large|30000 x 30000.*at most 80,000,000 pixels"),
        (png_header(10_000, 8_001), "oversized image", "10000 x 8001 pixels; at most 80,000,000"),
        (png_header(0, 5), "broken image", "picture"),
        (png_header(4, 4), "broken image", "cannot be decoded"),
    ],
)
def test_what_cannot_be_used_is_named(content, kind, says, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(SampleError, match=says) as caught:
        load_image(str(path), "d.jsonl:7")
    assert caught.value.kind == kind
    assert str(caught.value).startswith("d.jsonl:7: ")
    assert "picture.jpg" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SampleError, match=r"d.jsonl:7: there is no picture .*gone.jpg") as caught:
        load_image(str(tmp_path / "gone.jpg"), "d.jsonl:7")
    assert caught.value.kind == "missing image"
    with pytest.raises(SampleError, match="cannot be read"):
        load_image(str(tmp_path), "d.jsonl:7")
