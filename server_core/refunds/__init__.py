"""Captured money on its way back to who paid it."""
