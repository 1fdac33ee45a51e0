"""How terminals, allowances and vouchers are named on the command line: by their bytes in hex."""

import click


class HexBytes(click.ParamType[bytes]):
    """So many bytes in hex digits."""

    name = "hex"

    def __init__(self, size: int) -> None:
        self.size = size

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        try:
            found = bytes.fromhex(str(value))
        except ValueError:
            found = b""
        if len(found) != self.size:
            self.fail(f"{self.size * 2} hex digits are needed", param, ctx)
        return found


HASH, AID, TERMINAL = HexBytes(32), HexBytes(16), HexBytes(4)
