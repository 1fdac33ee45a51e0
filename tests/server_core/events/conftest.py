"""Every test of this folder that asks for a database runs in cell 0, and again in cell 1."""

from tests.server_core.cells import *  # noqa: F403
