"""Uploads that are killed at fault points: after a repeat and a cleaning nothing is lost, doubled or left over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli.clients.objects import Location
from dumacle_cli.store.database import Database
from tests.faults import kills

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("options", [[], ["--dedupe"]], ids=["plain", "dedupe"])
def test_twelve_kills(
    options: list[str],
    database: Database,
    database_url: str,
    bucket: Location,
    environment: Callable[..., None],
    tmp_path: Path,
) -> None:
    with kills.prepared(database, database_url, bucket, tmp_path) as place:
        driver = kills.Driver(place, 1, *options)
        try:
            report = driver.run(12)
        except AssertionError as failed:
            raise AssertionError("\n".join([str(failed), *driver.history, kills.table(driver.report)])) from failed
    assert report.kills == 12
    assert len(set(report.states)) >= 6, kills.table(report)
