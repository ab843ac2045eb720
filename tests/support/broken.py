"""Photos of every kind, and files that only look like them: made by code, the same each time."""

import io
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.support import photos

KINDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "tif": ("TIFF", {}),
    "strips.tif": ("TIFF", {"strip_size": 1024}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw", "strip_size": 1024}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "jpeg.tif": ("TIFF", {"compression": "jpeg"}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "jp2": ("JPEG2000", {}),
    "j2k": ("JPEG2000", {"no_jp2": True}),
    "avif": ("AVIF", {}),
}
"""Every format that is read, in its flavours: Pillow's name, and how it is written."""

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """Draw a disc on a grainy ground; `width` and `height` in px."""
    return Image.fromarray(photos.photo(height, width, seed))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Write an image as one of `KINDS`."""
    format_, usual = KINDS[kind]
    stream = io.BytesIO()
    image.save(stream, format_, **usual | options)
    return stream.getvalue()


@cache
def whole() -> dict[str, bytes]:
    """Give a good photo of every kind, by file name."""
    return {f"whole.{kind}": encoded(photo(), kind) for kind in KINDS} | {
        "early.tif": early_tiff(),
        "mpo.jpg": mpo(),
    }


def mpo() -> bytes:
    """Write what phones write: a JPEG with a second picture behind it."""
    stream = io.BytesIO()
    photo().save(stream, "MPO", save_all=True, append_images=[photo(seed=1)])
    return stream.getvalue()


def animation(kind: str) -> bytes:
    """Write a red picture with a blue one behind it, as a kind that holds several."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


@cache
def cut() -> dict[str, bytes]:
    """Give every good photo three times, cut at 25, 50 and 90 %."""
    return {
        f"cut{percent}-{name}": content[: len(content) * percent // 100]
        for name, content in whole().items()
        if name != "mpo.jpg"  # whose first picture may be whole
        for percent in (25, 50, 90)
    }


@cache
def not_photos() -> dict[str, bytes]:
    """Give what is no photo of a format that is read, under names that say it is."""
    random = np.random.default_rng(0)
    others = {"EPS": "eps.png", "PDF": "pdf.png", "ICO": "ico.png", "TGA": "tga.png", "PCX": "pcx.png"}
    made = {}
    for format_, name in others.items():
        stream = io.BytesIO()
        photo().save(stream, format_)
        made[name] = stream.getvalue()
    return made | {
        "empty.jpg": b"",
        "one.jpg": b"\xff",
        "text.jpg": b"hello, this is no photo\n",
        "html.jpg": b"<!doctype html><html><body>404</body></html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "random.jpg": random.bytes(5000),
        "random.png": b"\x89PNG\r\n\x1a\n" + random.bytes(5000),
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "mp4.png": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41\0\0\0\x08free\0\0\x10\0mdat"
        + random.bytes(4096),
        "magic.png": b"\x89PNG\r\n\x1a\n",
        "magic.gif": b"GIF89a",
        "magic.jpg": b"\xff\xd8\xff\xe0",
        "magic.tif": b"II*\0\x08\0\0\0",
        "magic.bmp": b"BM",
        "magic.ppm": b"P",
        "magic.webp": b"RIFF\xff\xff\xff\xffWEBP",
        "magic.avif": b"\0\0\0\x1cftypavif",
        "magic.jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
    }


def flipped(count: int) -> dict[str, bytes]:
    """Give good photos with `count` bits turned over, anywhere."""
    random = np.random.default_rng(1)
    made = {}
    for name, content in whole().items():
        bits = np.unpackbits(np.frombuffer(content, np.uint8))
        bits[random.integers(0, bits.size, count)] ^= 1
        made[f"flipped-{name}"] = np.packbits(bits).tobytes()
    return made


@cache
def bombs() -> dict[str, bytes]:
    """Give small files that promise, or unpack to, what no memory holds."""
    huge, text = 50_000, zlib.compress(bytes(200_000_000), 1)
    tiny = {kind: encoded(Image.new("RGB", (16, 16)), kind) for kind in ("png", "bmp", "jp2", "avif", "jpg")}
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x02\x44\x01\x00;"
    return {
        "side.png": png((huge, huge, 8, 2), b""),
        "warned.png": png((10_000, 10_000, 8, 2), b""),  # where Pillow only warns
        "ztxt.png": with_chunk(tiny["png"], b"zTXt", b"Comment\0\0" + text),
        "itxt.png": with_chunk(tiny["png"], b"iTXt", b"Comment\0\x01\0\0\0" + text),
        "iccp.png": with_chunk(tiny["png"], b"iCCP", b"profile\0\0" + text),
        "canvas.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + frame,
        "frame.gif": b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6) + frame,
        "side.tif": tiff({256: huge, 257: huge, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: huge, 279: 9}),
        "side.bmp": tiny["bmp"][:18] + struct.pack("<ii", huge, huge) + tiny["bmp"][26:],
        "side.jp2": patched(tiny["jp2"], b"ihdr", struct.pack(">II", huge, huge)),
        "side.avif": patched(tiny["avif"], b"ispe", bytes(4) + struct.pack(">II", 16_000, 16_000)),
        "side.jpg": patched(tiny["jpg"], b"\xff\xc0", b"\0\x11\x08" + struct.pack(">HH", huge, huge)),
        "side.ppm": b"P6 50000 50000 255\n",
        "side.webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xfe\x3f\0" * 2,
    }


def patched(content: bytes, after: bytes, value: bytes) -> bytes:
    """Write `value` over what follows the first `after`."""
    start = content.index(after) + len(after)
    return content[:start] + value + content[start + len(value) :]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Write one chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(content: bytes, kind: bytes, body: bytes) -> bytes:
    """Put a chunk behind a PNG's header."""
    return content[:33] + chunk(kind, body) + content[33:]


def png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """Write a PNG by hand: width, height, bit depth and colour type; rows with their filter bytes."""
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(tags: Mapping[int, int | list[int]], body: bytes = b"") -> bytes:
    """Write a TIFF by hand, its directory first; offsets (tag 273) count from the body, which is the end."""
    end = 8 + 2 + 12 * len(tags) + 4
    lists = {tag: value for tag, value in tags.items() if isinstance(value, list) and len(value) > 1}
    start = end + sum(4 * len(values) for values in lists.values())
    entries, behind = b"", b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        values = [offset + start for offset in values] if tag == 273 else values
        if len(values) == 1:
            entries += struct.pack("<HHII", tag, 4, 1, values[0])
        else:
            entries += struct.pack("<HHII", tag, 4, len(values), end + len(behind))
            behind += struct.pack(f"<{len(values)}I", *values)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + behind + body


def early_tiff() -> bytes:
    """Write a deflated TIFF in strips whose directory stands before them, so that cutting it leaves it readable."""
    pixels = np.asarray(photo())
    strips = [zlib.compress(pixels[row : row + 8].tobytes()) for row in range(0, len(pixels), 8)]
    sizes = [len(strip) for strip in strips]
    offsets = [0, *np.cumsum(sizes[:-1]).tolist()]
    tags: dict[int, int | list[int]] = {
        256: 64,
        257: 48,
        258: [8, 8, 8],
        259: 8,
        262: 2,
        273: offsets,
        277: 3,
        278: 8,
        279: sizes,
    }
    return tiff(tags, b"".join(strips))


def swapped_profile() -> bytes:
    """Write an ICC profile in which red and blue have changed places, and which does not call itself sRGB."""
    count = struct.unpack(">I", SRGB[128:132])[0]
    places = {
        SRGB[at : at + 4]: struct.unpack(">I", SRGB[at + 4 : at + 8])[0]
        for at in range(132, 132 + 12 * count, 12)
    }
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    swapped = bytearray(SRGB)
    swapped[red : red + 20], swapped[blue : blue + 20] = SRGB[blue : blue + 20], SRGB[red : red + 20]
    return bytes(swapped).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
