"""Random worlds end right; CI runs one seed, `DUMACLE_TEST_WORLDS=40 pytest -n 2 tests/faults/test_worlds.py` 40."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import psycopg
import pytest
from hypothesis.stateful import run_state_machine_as_test
from psycopg import sql

from dumacle_cli.local.servers import Servers
from dumacle_cli.store.database import Database
from tests.conftest import Run
from tests.faults.worlds import Ground, World
from tests.stripe_double.double import StripeDouble

pytestmark = pytest.mark.integration

SEEDS = range(1, int(os.environ.get("DUMACLE_TEST_WORLDS", "1")) + 1)
WORLDS = 50 if len(SEEDS) > 1 else 10
STEPS = 15
"""Few enough to be read as they are: a world that fails is not made smaller, which would take many more."""


@pytest.fixture
def ground(
    run: Run,
    embedded: Servers,
    copied: str,
    database: Database,
    stripe_double: StripeDouble,
    environment: Callable[..., None],
) -> Iterator[Ground]:
    """The installation, and a superuser who can put it back."""
    environment(**stripe_double.settings)
    admin: psycopg.Connection[Any] = psycopg.connect(embedded.admin_url, dbname=copied, autocommit=True)
    with admin:
        # No world crashes the server, and most of the time would be waiting for the disk.
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(copied)))
        made = Ground(database, stripe_double, run, admin)
        made.prepare()
        yield made


@pytest.mark.parametrize("seed", SEEDS)
def test_worlds_end_right(seed: int, ground: Ground) -> None:
    settings = hypothesis.settings(
        max_examples=WORLDS,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(lambda: World(ground)), settings=settings)
