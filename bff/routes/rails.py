"""What upi-core tells by itself: each callback is a reason to ask it, never to move money."""

from typing import Any, Final

from litestar import Request, Response, post

from bff.auth import core_of
from server_core.errors import denied
from server_core.payments import service as payments
from server_core.rails.callbacks import MAX_BODY, read_callback
from server_core.rails.doors import attempt_of
from server_core.refunds import service as refunds

_NO_CONTENT: Final = 204


@post("/rails/callbacks", status_code=_NO_CONTENT, include_in_schema=False)
async def callbacks(request: Request[Any, Any, Any]) -> Response[None]:
    """204 once the asking is in a job's hands, also for what we do not know: it is not sent again.

    Raises rails.callback_signature, rails.callback_stale, rails.callback.
    """
    core = core_of(request)
    if core.settings.callback_key is None:
        raise denied("rails.callback_signature", "no key of callbacks is set: HUNDI_CALLBACK_KEY")
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY:
            break  # too long to be signed by anybody: refused below
    headers = {name.lower(): value for name, value in request.headers.items()}
    told = read_callback(headers, bytes(raw), core.settings.callback_key, core.clock.now_ms())
    async with core.db.work() as work:
        if told.refund_id is not None:
            refund = attempt_of(told.refund_id)
            if refund is not None:
                await refunds.heard(work, refund, told.outcome)
        else:
            attempt = attempt_of(told.reference or told.txn_id)
            if attempt is not None:
                await payments.hasten(work, attempt)
    return Response(None, status_code=_NO_CONTENT)
