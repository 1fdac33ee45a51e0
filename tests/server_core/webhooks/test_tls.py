"""Over TLS the address that was judged is dialled, and the name is what SNI and certificate say."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devices.clock import SystemClock
from server_core.webhooks.model import Failure
from server_core.webhooks.sending import Sender

NAME = "shop.example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for NAME that signs itself, and its key."""
    home = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (home / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (home / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return home / "cert.pem", home / "key.pem"


async def exchange(authority: tuple[Path, Path], host: str, *, trusted: bool):
    """One POST to `host`, which resolves to a TLS server here; what was heard, and what it saw."""
    seen: list[str] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority)
    context.sni_callback = lambda _sock, name, _ctx: seen.append(f"sni {name}")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.extend(line for line in head.decode().split("\r\n") if line.startswith("Host"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    async def resolve(name: str, _port: int) -> Sequence[str]:
        seen.append(f"resolve {name}")
        return ["127.0.0.1"]

    client = ssl.create_default_context(cafile=str(authority[0]) if trusted else None)
    async with Sender(
        SystemClock(), allow_private=True, resolve=resolve, tls=client, deadline_s=5
    ) as sender:
        heard = await sender.post(f"https://{host}:{port}/hook", b"{}", [])
    server.close()
    return heard, seen, port


async def test_the_name_is_asked_for_by_the_certificate(authority: tuple[Path, Path]) -> None:
    heard, seen, port = await exchange(authority, NAME, trusted=True)
    assert (heard.status, heard.failure) == (204, None)
    assert seen == [f"resolve {NAME}", f"sni {NAME}", f"Host: {NAME}:{port}"]


@pytest.mark.parametrize(("host", "trusted"), [("other.example.com", True), (NAME, False)])
async def test_another_name_and_an_unknown_signer_are_refused(
    authority: tuple[Path, Path], host: str, trusted: bool
) -> None:
    heard, seen, _ = await exchange(authority, host, trusted=trusted)
    assert (heard.status, heard.failure) == (None, Failure.TLS)
    assert not any(one.startswith("Host") for one in seen)
