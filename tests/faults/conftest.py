"""Faults are tried on the same uploads as the engine."""

from tests.ingest.conftest import drive, fill, home, upload

__all__ = ["drive", "fill", "home", "upload"]
