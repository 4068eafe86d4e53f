"""One scene in every file format and pixel layout a camera or an export may bring. Needs Pillow, so the training environment."""

import io
from typing import Any

import numpy as np
from PIL import Image

from deploy.preprocess import Picture

HEIGHT, WIDTH = 40, 56
ORIENTATIONS = range(1, 9)


def scene() -> Picture:
    """HEIGHT x WIDTH x 3, RGB: smooth, so that JPEG is near, with a corner that tells how it is turned."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([columns * 4, rows * 5, 120 + rows + columns], axis=-1).astype(np.uint8)
    picture[:16, :24] = (200, 40, 30)
    return picture


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned_for(picture: Picture, orientation: int) -> Picture:
    """The picture as it lies in a file whose EXIF then turns it upright."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture, -1),
    }
    return np.asarray(stored[orientation], np.uint8)


def colour_files() -> dict[str, tuple[bytes, float]]:
    """File name -> its bytes, and how far a value may be off on average: 0 for what loses nothing."""
    picture = scene()
    rgb = Image.fromarray(picture)
    rgba = Image.fromarray(np.dstack([picture, np.full((HEIGHT, WIDTH), 90, np.uint8)]))
    files: dict[str, tuple[bytes, float]] = {
        "rgb.png": (_saved(rgb, "PNG"), 0),
        "rgb.bmp": (_saved(rgb, "BMP"), 0),
        "rgb.webp": (_saved(rgb, "WEBP", lossless=True), 0),
        "lossy.webp": (_saved(rgb, "WEBP", quality=95), 4),
        "rgb.jpg": (_saved(rgb, "JPEG", quality=97, subsampling=0), 2),
        "progressive.jpg": (_saved(rgb, "JPEG", quality=97, subsampling=0, progressive=True), 2),
        "adobe-cmyk.jpg": (_saved(rgb.convert("CMYK"), "JPEG", quality=97, subsampling=0), 3),
        "cmyk.tif": (_saved(rgb.convert("CMYK"), "TIFF"), 0),
        "pages.tif": (_saved(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180)]), 0),
        "big.tif": (_saved(rgb, "TIFF", big_tiff=True), 0),
        "rgba.png": (_saved(rgba, "PNG"), 0),
        "rgba.tif": (_saved(rgba, "TIFF"), 0),
        "rgba.bmp": (_saved(rgba, "BMP"), 0),
        "rgba.webp": (_saved(rgba, "WEBP", lossless=True, exact=True), 0),
    }
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        files[f"{packing}.tif"] = (_saved(rgb, "TIFF", compression=packing), 0)
    for orientation in ORIENTATIONS:
        stored = Image.fromarray(np.ascontiguousarray(turned_for(picture, orientation)))
        exif = Image.Exif()
        exif[0x112] = orientation
        files[f"turned{orientation}.png"] = (_saved(stored, "PNG", exif=exif), 0)
        files[f"turned{orientation}.tif"] = (_saved(stored, "TIFF", exif=exif), 0)
        files[f"turned{orientation}.webp"] = (_saved(stored, "WEBP", lossless=True, exif=exif), 0)
        files[f"turned{orientation}.jpg"] = (_saved(stored, "JPEG", quality=97, subsampling=0, exif=exif), 2)
    return files


def grey_files() -> dict[str, tuple[bytes, float]]:
    """The same for the scene in grey."""
    grey = Image.fromarray(scene()).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    veiled = Image.merge("LA", (grey, Image.new("L", grey.size, 90)))
    palette = grey.convert("P")
    files: dict[str, tuple[bytes, float]] = {"grey.jpg": (_saved(grey, "JPEG", quality=97), 2)}
    for suffix, kind in (("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP")):
        files[f"grey.{suffix}"] = (_saved(grey, kind), 0)
        files[f"palette.{suffix}"] = (_saved(palette, kind), 0)
        if kind != "BMP":
            files[f"grey16.{suffix}"] = (_saved(deep, kind), 0)
            files[f"grey-alpha.{suffix}"] = (_saved(veiled, kind), 0)
    return files


def two_level_files() -> dict[str, bytes]:
    """The scene in black and white, one bit a pixel."""
    flat = Image.fromarray(scene()).convert("L").point(lambda value: 255 * (value > 90)).convert("1")
    return {"one.png": _saved(flat, "PNG"), "one.tif": _saved(flat, "TIFF"), "one.bmp": _saved(flat, "BMP")}
