from pathlib import Path

from click.testing import CliRunner

from bff.cli.main import main


def test_a_callback_key_is_a_file_of_32_bytes_at_least(tmp_path: Path):
    short = tmp_path / "key"
    short.write_bytes(b"x" * 31)
    for path, said in ((short, "at least 32 bytes"), (tmp_path / "none", "does not exist")):
        refused = CliRunner().invoke(main, ["sandbox", "--callback-key", str(path)])
        assert refused.exit_code == 2
        assert said in refused.output
