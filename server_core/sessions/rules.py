"""When a session still counts. Pure."""

from server_core.actor import Actor
from server_core.errors import DomainError, denied
from server_core.sessions.model import IDLE_MS, Session


def check_live(session: Session | None, now_ms: int) -> Session:
    """The session, or sessions.unauthenticated: unknown, ended, idle too long, or over."""
    if (
        session is None
        or session.ended_at is not None
        or now_ms >= session.expires_at
        or now_ms >= session.seen_at + IDLE_MS
    ):
        raise unauthenticated()
    return session


def unauthenticated() -> DomainError:
    return denied("sessions.unauthenticated", "sign in: this session is unknown or over")


def require_recent(actor: Actor, *, assurance: int, within_ms: int, now_ms: int) -> None:
    """Ask for a fresh proof of that level; raises sessions.step_up_required."""
    if actor.assurance < assurance or now_ms - actor.authenticated_at > within_ms:
        raise denied(
            "sessions.step_up_required",
            f"prove yourself again (level {assurance}, younger than {within_ms // 60_000} minutes)",
            assurance=assurance,
            within_ms=within_ms,
        )
