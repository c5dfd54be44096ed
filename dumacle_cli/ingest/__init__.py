"""The upload engine: scan, plan, lease, transfer, record."""
