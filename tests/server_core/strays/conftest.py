"""The payments' world."""

from tests.server_core.payments.conftest import world

__all__ = ["world"]
