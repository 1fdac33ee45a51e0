"""OV1 texts as pictures: written for a screen or a terminal window, read back from a photograph.

API: `png(text, scale) -> bytes`, `terminal_art(text) -> str`, `svg(text, scale) -> str`, `version(text) -> int`,
`read_png(data) -> str`, raising `PictureRefused` for a file that is no bounded picture or holds no code.
Level M; base45 and the prefixes are in the alphanumeric set, so a voucher of 415 characters is version 12.
"""

from io import BytesIO, StringIO
from typing import Final

import segno
import zxingcpp
from PIL import Image

MAX_PICTURE_BYTES: Final = 8 * 1024 * 1024
MAX_PICTURE_PIXELS: Final = 16_000_000
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_QR: Final = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])


class PictureRefused(ValueError):  # noqa: N818 - the reader's word for its own refusal
    """Why no code came out of a picture, as a sentence for a person."""


def _code(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="m", boost_error=False)


def version(text: str) -> int:
    """The QR version (1..40) that `text` takes at level M."""
    return int(_code(text).version)


def png(text: str, scale: int = 4) -> bytes:
    """A black and white PNG with a border of 4 modules; `scale` pixels a module."""
    out = BytesIO()
    _code(text).save(out, kind="png", scale=scale, border=4)
    return out.getvalue()


def svg(text: str, scale: int = 4) -> str:
    """The same as an SVG element, for a page."""
    return str(_code(text).svg_inline(scale=scale, border=4))


def terminal_art(text: str) -> str:
    """The code in half blocks, two modules a character cell, dark on light whatever the theme."""
    out = StringIO()
    _code(text).terminal(out, border=2, compact=True)
    return out.getvalue()


def read_png(data: bytes) -> str:
    """The text of the one QR code in a PNG, JPEG or WebP picture."""
    if len(data) > MAX_PICTURE_BYTES:
        raise PictureRefused("the picture file is larger than 8 MiB")
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as picture:
            pixels = picture.width * picture.height
            grey = picture.convert("L") if pixels <= MAX_PICTURE_PIXELS else None
    except Exception as error:  # a broken picture raises whatever its parser happens to meet
        raise PictureRefused(
            "the file is not a PNG, JPEG or WebP picture that can be read"
        ) from error
    if grey is None:
        raise PictureRefused("the picture has more than 16 million pixels")
    found = zxingcpp.read_barcodes(grey, formats=_QR, text_mode=zxingcpp.TextMode.Plain)
    texts = {code.text for code in found if code.valid}
    if not texts:
        raise PictureRefused("no QR code was found in the picture")
    if len(texts) > 1:
        raise PictureRefused("more than one QR code is in the picture; show one")
    return str(texts.pop())
