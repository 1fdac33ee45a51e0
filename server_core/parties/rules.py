"""What a party may be called. Pure."""

import unicodedata

from server_core.errors import invalid
from server_core.parties.model import MAX_NAME_BYTES

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def check_name(name: object) -> str:
    """NFC, 1..32 bytes of UTF-8, nothing invisible; raises parties.name."""
    if isinstance(name, str):
        clean = unicodedata.normalize("NFC", name.strip())
        hidden = any(unicodedata.category(letter) in _HIDDEN for letter in clean)
        if not hidden and 1 <= len(clean.encode(errors="replace")) <= MAX_NAME_BYTES:
            return clean
    raise invalid(
        "parties.name",
        f"name must be 1 to {MAX_NAME_BYTES} bytes of text without control characters",
        field="name",
    )


def check_mcc(mcc: object) -> str:
    """Four digits (ISO 18245); raises parties.mcc."""
    if isinstance(mcc, str) and len(mcc) == 4 and mcc.isascii() and mcc.isdigit():
        return mcc
    raise invalid("parties.mcc", "mcc must be four digits, such as 5411", field="mcc")
