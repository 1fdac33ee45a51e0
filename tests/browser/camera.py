"""A film that Chromium takes for what its camera sees."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from offline import qr


def camera_film(path: Path, text: str) -> None:
    """A film of a QR code, in the one form that Chromium takes. It is read when the camera is opened."""
    with Image.open(BytesIO(qr.png(text, scale=6))) as code:
        frame = Image.new("L", (640, 640), 160)
        frame.paste(code.convert("L"), ((640 - code.width) // 2, (640 - code.height) // 2))
    planes = frame.tobytes() + bytes([128]) * (640 * 640 // 2)
    path.write_bytes(b"YUV4MPEG2 W640 H640 F10:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + planes) * 3)


def camera_of(film: Path) -> list[str]:
    """The flags of a browser whose camera is the film, and whose person allows its use."""
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
