"""What a browser loads: OV1 in JavaScript and the payer's app. Files, no code; `FOLDER` is where they are."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
