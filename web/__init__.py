"""What a browser loads: OV1 in JavaScript, the payer's app, the terminal's screen. `FOLDER` is where they are."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
