"""A part of `make fuzz` in every run, and proof that it finds what is planted."""

from offline.verdicts import Refused
from tests.fuzz.decoders import DECODERS, Decoder
from tests.fuzz.run import Tally, fuzz


def test_no_decoder_fails_otherwise_than_by_a_verdict() -> None:
    tally = Tally()
    assert fuzz("a part", 6_000, tally, DECODERS) == []
    taken = {name for (name, what), _ in tally.outcomes.items() if what == "taken"}
    assert taken == set(DECODERS)


def test_a_planted_fault_is_found() -> None:
    voucher = DECODERS["voucher"]

    def raises(data: bytes) -> object:
        read = voucher.read(data)
        return read if read.amount == read.cum else {}[read.amount]

    def loose(data: bytes) -> object:
        try:
            return voucher.read(data)
        except Refused:
            return voucher.read(data[:-1])

    for planted, what in ((raises, "KeyError"), (loose, "written back otherwise")):
        decoders = {"planted": Decoder("planted", planted, voucher.write)}
        finds = fuzz("planted", 6_000, Tally(), decoders)
        assert finds
        assert all(what in find.what for find in finds)
        assert "bytes.fromhex" in str(finds[0])
