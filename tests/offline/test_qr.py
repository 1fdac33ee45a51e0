import re
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


@pytest.mark.parametrize("scale", [1, 4])
def test_an_svg_draws_the_same_code(scale: int):
    text = kit.signed_voucher().to_text()
    drawn = qr.svg(text, scale)
    side = int(re.search(r'viewBox="0 0 (\d+) ', drawn)[1])
    page = Image.new("L", (side * 4, side * 4), 255)
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", drawn):
        page.paste(0, (int(x) * 4, int(y) * 4, int(x) * 4 + 4, int(y) * 4 + 4))
    assert f'width="{side * scale}"' in drawn
    assert qr.read_png(as_file(page)) == text


def test_art_in_a_window_is_the_same_code():
    text = kit.signed_voucher().to_text()
    lines = re.findall("\x1b\\[30;107m(.*)\x1b\\[0m", qr.terminal_art(text))
    page = Image.new("L", (len(lines[0]) * 4 + 16, len(lines) * 8 + 16), 255)
    for row, line in enumerate(lines):
        for column, cell in enumerate(line):
            for half, dark in enumerate((cell in "\u2580\u2588", cell in "\u2584\u2588")):
                if dark:
                    x, y = 8 + column * 4, 8 + row * 8 + half * 4
                    page.paste(0, (x, y, x + 4, y + 4))
    assert qr.read_png(as_file(page)) == text


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
