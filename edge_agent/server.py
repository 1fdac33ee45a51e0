"""The server's door as the agent sees it: few routes, short waits, bounded answers, named failures."""

import base64
import binascii
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from edge_agent.errors import AgentError
from offline.ussd import KEY_SIZE

_TIMEOUT: Final = httpx.Timeout(10.0, connect=4.0)
_JSON_MAX: Final = 256 * 1024
_KEYS_MAX: Final = 64
_CBOR_MAX: Final = 1024 * 1024
_AGAIN: Final = frozenset({408, 425})
_UNDECIDED: Final = frozenset({"", "idempotency.still_running", "trust.nonce_used"})
"""Codes of a conflict or limit under which the question still stands; any other one is an answer."""
_CBOR: Final = {"content-type": "application/cbor", "accept": "application/cbor"}


class ServerUnreachable(AgentError):  # noqa: N818
    """No answer: the server may or may not have done what was asked."""

    def __init__(self, message: str) -> None:
        super().__init__("edge.server_unreachable", message)


class ServerRefused(AgentError):  # noqa: N818
    """The server answered no; `code` is the server's own."""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(value: object, *sizes: int) -> bytes:
    """Read base64url without padding; another form or size is a broken answer."""
    if isinstance(value, str) and "=" not in value:
        try:
            data = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = None
        if data is not None and (not sizes or len(data) in sizes):
            return data
    raise AgentError("edge.server_answer", "the server's answer holds a broken value")


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalEnrolled:
    terminal: bytes
    payee: bytes
    kid: bytes
    cert: bytes
    sig_cert: bytes
    root_key: bytes
    bundle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnrolled:
    device: str
    root_key: bytes
    bundle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    party: bytes
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    kid: bytes
    allowance: bytes
    sig: bytes


class Server:
    """One server by its address; a session token only where a payer's own account is touched."""

    __slots__ = ("_client", "url")

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"user-agent": "hundi-edge"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise AgentError("edge.token_invalid", "the session token holds foreign characters")
            headers["authorization"] = f"Bearer {token}"
        _check_address(self.url)
        # No redirects and no proxies from the environment: the address is the one that was enrolled.
        self._client = httpx.AsyncClient(
            base_url=self.url, timeout=_TIMEOUT, headers=headers, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def nonce(self) -> bytes:
        return unb64((await self._post("/edge/nonce", {})).get("nonce"), 16)

    async def enrol_terminal(
        self, *, code: str, key: bytes, server_nonce: bytes, proof: bytes
    ) -> TerminalEnrolled:
        answer = await self._post(
            "/edge/terminals/enrol",
            {
                "code": code,
                "key": b64(key),
                "server_nonce": b64(server_nonce),
                "proof": b64(proof),
            },
        )
        return TerminalEnrolled(
            terminal=unb64(answer.get("terminal"), 4),
            payee=unb64(answer.get("payee"), 8),
            kid=unb64(answer.get("kid"), 2),
            cert=unb64(answer.get("cert")),
            sig_cert=unb64(answer.get("sig_cert"), 64),
            root_key=unb64(answer.get("root_key"), 32, 33),
            bundle=unb64(answer.get("bundle")),
        )

    async def enrol_device(
        self, *, key: bytes, tier: str, label: str, server_nonce: bytes, proof: bytes
    ) -> DeviceEnrolled:
        """Link a device. `tier` is what its key store says of itself; an operator judges it."""
        answer = await self._post(
            "/edge/devices/enrol",
            {
                "key": b64(key),
                "tier": tier,
                "label": label,
                "server_nonce": b64(server_nonce),
                "proof": b64(proof),
            },
        )
        return DeviceEnrolled(
            device=_text(answer.get("device")),
            root_key=unb64(answer.get("root_key"), 32, 33),
            bundle=unb64(answer.get("bundle")),
        )

    async def me(self) -> Me:
        answer = _object(await self._send("GET", "/edge/me", limit=_JSON_MAX))
        return Me(party=unb64(answer.get("party"), 16), name=_text(answer.get("name")))

    async def issue_allowance(self, body: dict[str, str]) -> Issued:
        answer = await self._post("/edge/allowances", dict(body))
        return Issued(
            kid=unb64(answer.get("kid"), 2),
            allowance=unb64(answer.get("allowance")),
            sig=unb64(answer.get("sig"), 64),
        )

    async def surrender(self, *, aid: bytes, counter: int, cum: int, h: bytes, sig: bytes) -> str:
        answer = await self._post(
            "/edge/allowances/surrender",
            {"aid": b64(aid), "counter": counter, "cum": cum, "h": b64(h), "sig": b64(sig)},
        )
        return _text(answer.get("state"))

    async def witness(self, vouchers: list[str]) -> int:
        recorded = (await self._post("/edge/vouchers/witness", {"vouchers": vouchers})).get(
            "recorded"
        )
        if type(recorded) is not int:
            raise AgentError("edge.server_answer", "the server did not say what it recorded")
        return recorded

    async def ussd_keys(
        self, *, terminal: bytes, server_nonce: bytes, sig: bytes
    ) -> tuple[str, dict[int, bytes]]:
        """The terminal's code and, by day, the keys that check answers given by phone."""
        answer = await self._post(
            "/edge/ussd/keys",
            {"terminal": b64(terminal), "server_nonce": b64(server_nonce), "sig": b64(sig)},
        )
        keys = answer.get("keys")
        if not isinstance(keys, list) or len(keys) > _KEYS_MAX:
            raise AgentError("edge.server_answer", "the server gave no keys")
        found = {}
        for one in keys:
            if not isinstance(one, dict) or type(one.get("day")) is not int:
                raise AgentError("edge.server_answer", "the server gave a broken key")
            found[one["day"]] = unb64(one.get("key"), KEY_SIZE)
        return _text(answer.get("code")), found

    async def hand_in_void(self, text: str) -> str:
        return _text((await self._post("/edge/voids", {"void": text})).get("state"))

    async def bundle(self) -> bytes:
        return await self._send("GET", "/edge/bundle", limit=_CBOR_MAX)

    async def sync(self, wire: bytes) -> bytes:
        return await self._send("POST", "/edge/sync", limit=_CBOR_MAX, content=wire, headers=_CBOR)

    async def _post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        data = await self._send(
            "POST",
            path,
            limit=_JSON_MAX,
            content=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        return _object(data)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        limit: int,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        data = bytearray()
        try:
            async with self._client.stream(
                method, path, content=content, headers=headers
            ) as response:
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > limit:
                        raise AgentError("edge.server_answer", "the server's answer is too large")
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            reason = str(e) or type(e).__name__
            raise ServerUnreachable(f"{self.url} did not answer: {reason}") from e
        if response.is_success:
            return bytes(data)
        raise _refusal(response.status_code, bytes(data))


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname)
        httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        known = False
    if not known:
        raise AgentError("edge.server_url", f"{url[:200]!r} is not an address http(s)://host")


def _refusal(status: int, data: bytes) -> AgentError:
    try:
        problem = json.loads(data)
    except ValueError:
        problem = None
    code, detail = "", ""
    if isinstance(problem, dict):
        code = _plain(problem.get("code"), 80)
        detail = _plain(problem.get("detail") or problem.get("title"), 300)
    undecided = code in _UNDECIDED or code.startswith("db.")
    if status >= 500 or status in _AGAIN or (status in {409, 429} and undecided):
        # It may have done what was asked, or be doing it: not a refusal.
        return ServerUnreachable(f"the server cannot say now: {status} {code} {detail}".strip())
    return ServerRefused(code or f"server.status_{status}", detail or f"the server said {status}")


def _plain(value: object, most: int) -> str:
    """Words of the server for a person's screen: no control or escape characters among them."""
    return "".join(c for c in str(value or "")[:most] if c.isprintable())


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError as e:
        raise AgentError("edge.server_answer", "the server's answer is not JSON") from e
    if not isinstance(value, dict):
        raise AgentError("edge.server_answer", "the server's answer is not an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise AgentError("edge.server_answer", "the server's answer holds a broken text")
    return value
