"""Opening pictures of any kind as upright 8-bit RGB, and naming those that cannot be opened."""

from __future__ import annotations

import io
from dataclasses import replace

import fsspec
import numpy as np
from PIL import Image, ImageOps

from vlfuse.data.problems import SampleError
from vlfuse.types import Box, ImageSource, Sample

MAX_PIXELS = 80_000_000  # a larger header is taken for a mistake or an attack; decoded, this is 240 MB
EXIF_ORIENTATION = 0x0112


def load_image(source: ImageSource, origin: str = "") -> Image.Image:
    """Open a picture as upright RGB.

    EXIF orientation is applied; transparency is laid over white; 16 bits are scaled to 8, not clipped; other modes are
    converted. origin: where the sample stands, for messages. Raises SampleError for a picture that is missing, broken,
    not a picture, empty, or of more than MAX_PIXELS (judged by its header, before decoding).
    """
    return load_oriented(source, origin)[0]


def load_oriented(source: ImageSource, origin: str = "") -> tuple[Image.Image, int]:
    """`load_image`, and the EXIF orientation (1 to 8) the stored picture had: boxes are in *its* pixels,
    see `upright_box`."""
    if isinstance(source, np.ndarray):
        return _from_array(source, origin), 1
    name = source if isinstance(source, str) else "the picture"
    picture = source if isinstance(source, Image.Image) else _open(source, name, origin)
    _check_size(picture, name, origin)
    try:
        picture.load()
        orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
        upright = ImageOps.exif_transpose(picture) if orientation in range(2, 9) else picture
        return _to_rgb(upright), orientation if orientation in range(2, 9) else 1
    except Exception as error:  # Pillow's decoders raise nearly every kind of error on broken bytes
        raise SampleError(
            "broken image", origin, f"{name} cannot be decoded ({error}); the file is damaged: fetch it again"
        ) from error


def upright_box(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Where a box of the stored picture lies once the EXIF orientation is applied. size: (width, height) as stored."""
    x0, y0, x1, y1 = box
    width, height = size
    if orientation >= 5:  # 5 to 8 swap the axes
        x0, y0, x1, y1, width, height = y0, x0, y1, x1, height, width
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    return (x0, y0, x1, y1)


def stored_size(picture: Image.Image, orientation: int) -> tuple[int, int]:
    """(width, height) of an upright picture before its EXIF orientation was applied."""
    return picture.size if orientation < 5 else (picture.height, picture.width)


def upright_sample(sample: Sample, picture: Image.Image, orientation: int) -> Sample:
    """The sample with its boxes in pixels of its upright picture; see `load_oriented`."""
    if orientation == 1:
        return sample
    size = stored_size(picture, orientation)

    def turn(box: Box) -> Box:
        return upright_box(box, orientation, size)

    return replace(
        sample,
        regions=tuple(replace(r, box=turn(r.box)) for r in sample.regions),
        phrases=tuple(replace(p, boxes=tuple(turn(box) for box in p.boxes)) for p in sample.phrases),
        expressions=tuple(replace(e, box=turn(e.box)) for e in sample.expressions),
    )


def _open(source: str | bytes, name: str, origin: str) -> Image.Image:
    data = source if isinstance(source, bytes) else _read(source, origin)
    if not data:
        raise SampleError("broken image", origin, f"{name} is empty (0 bytes); fetch it again")
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise SampleError("oversized image", origin, f"{name} is too large ({error}); {_LIMIT}") from error
    except Exception as error:  # as above: a header, too, can be broken in any way
        raise SampleError(
            "broken image",
            origin,
            f"{name} is not a picture Pillow can read; check the path, or convert it to PNG or JPEG",
        ) from error


def _read(path: str, origin: str) -> bytes:
    try:
        if "://" not in path:
            with open(path, "rb") as file:
                return file.read()
        with fsspec.open(path, "rb") as file:
            return file.read()  # type: ignore[union-attr]
    except FileNotFoundError as error:
        mend = "paths are relative to the file that names them"
        raise SampleError("missing image", origin, f"there is no picture {path}; {mend}") from error
    except OSError as error:
        raise SampleError("missing image", origin, f"{path} cannot be read ({error})") from error


_LIMIT = f"at most {MAX_PIXELS:,} pixels are allowed; scale it down"


def _check_size(picture: Image.Image, name: str, origin: str) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise SampleError("broken image", origin, f"{name} is {width} x {height} pixels; it has no content")
    if width * height > MAX_PIXELS:
        raise SampleError("oversized image", origin, f"{name} is {width} x {height} pixels; {_LIMIT}")


def _from_array(array: np.ndarray, origin: str) -> Image.Image:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise SampleError(
            "broken image", origin, f"the array is {array.dtype} {array.shape}; pictures are [height, width, 3] uint8"
        )
    return Image.fromarray(array)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _deep_grey(picture).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _deep_grey(picture: Image.Image) -> Image.Image:
    """Grey of more than 8 bits: 16-bit values are divided by 257; wider ones have no agreed white,
    so their range is stretched."""
    values = np.asarray(picture).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if picture.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
