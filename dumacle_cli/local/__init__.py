"""The embedded default: PostgreSQL and an S3 server on this machine, under one private folder."""
