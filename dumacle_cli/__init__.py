"""Administer storage pods for media, directly on PostgreSQL and S3-compatible storage."""

__version__ = "0.1.0"
