from io import BytesIO

import pytest
from PIL import Image, ImageFilter

from offline import qr
from tests.offline import kit

WORST = kit.signed_voucher(
    kit.allowance(kit.P256_DEVICE, max_count=400),
    kit.voucher(counter=400, amount=50_000, cum=200_000),
    device=kit.P256_DEVICE,
)


def as_file(picture: Image.Image, kind: str = "PNG") -> bytes:
    out = BytesIO()
    picture.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        kit.signed_voucher().to_text(), WORST.to_text(), kit.signed_request().to_text(),
        kit.signed_receipt().to_text(), kit.signed_void().to_text(),
    ],
)  # fmt: skip
def test_a_picture_is_read_back(text: str):
    assert qr.read_png(qr.png(text)) == text


def test_the_longest_voucher_within_the_rules_is_version_12():
    assert len(WORST.to_text()) <= 419
    assert qr.version(WORST.to_text()) == 12


def test_a_turned_and_blurred_photograph_is_read():
    text = kit.signed_voucher().to_text()
    with Image.open(BytesIO(qr.png(text, 6))) as picture:
        photo = picture.convert("L").rotate(7, expand=True, fillcolor=255)
    photo = photo.filter(ImageFilter.GaussianBlur(1.2))
    assert qr.read_png(as_file(photo, "JPEG")) == text


def test_art_and_svg():
    art = qr.terminal_art("OV1V:ABC")
    assert "\u2580" in art
    assert "<svg" in qr.svg("OV1V:ABC")


def two_codes() -> bytes:
    sheet = Image.new("L", (400, 200), 255)
    for number, text in enumerate(("OV1V:AAA", "OV1V:BBB")):
        with Image.open(BytesIO(qr.png(text))) as picture:
            sheet.paste(picture.convert("L"), (number * 200, 0))
    return as_file(sheet)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a PNG"),
        (b"no picture", "not a PNG"),
        (qr.png("OV1V:ABC")[:60], "not a PNG"),
        (as_file(Image.new("1", (64, 64)), "GIF"), "not a PNG"),
        (as_file(Image.new("1", (64, 64), 1)), "no QR code"),
        (as_file(Image.new("1", (4_100, 4_000), 1)), "16 million"),
        (as_file(Image.new("1", (10_000, 9_500), 1)), "can be read"),
        (bytes(8 * 1024 * 1024 + 1), "8 MiB"),
        (two_codes(), "more than one"),
    ],
)
def test_why_no_code_came_out(data: bytes, said: str):
    with pytest.raises(qr.PictureRefused, match=said):
        qr.read_png(data)
