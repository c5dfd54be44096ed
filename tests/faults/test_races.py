"""Attacks by a transaction that is open when the right is taken with which it acts, or that begins at that instant.

On an installation of their own, which they leave changed; a fresh one, and one upgraded from the release before.
"""

from collections.abc import Iterator
from functools import partial

import pytest

from dumacle_cli.local.servers import Servers
from tests.faults.attacks import RACES, TAKES, Race
from tests.identity import Installation, installation
from tests.store.interleaving import Side, Together

pytestmark = pytest.mark.integration

OPEN = """
    SELECT count(*) FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id
    WHERE u.id = {user} AND u.status = 'active' AND l.kind = 'session'
"""


@pytest.fixture(scope="module", params=["head", "0012"], ids=["fresh", "upgraded"])
def everybody(request: pytest.FixtureRequest, embedded: Servers) -> Iterator[Installation]:
    with installation(embedded, request.param) as made:
        yield made


def begun(race: Race, everybody: Installation) -> tuple[str, str, str]:
    """Return who acts, what they do, and what takes their right."""
    me = everybody.person("me", race.role)
    own = {"me": everybody.facts[me]}
    own |= {name: everybody.facts[everybody.person("other", name.rstrip("_"))] for name in ("enduser", "admin_")}
    return me, race.sql.format_map(everybody.facts | own), TAKES[race.taken].format_map(own)


@pytest.mark.parametrize("race", RACES, ids=lambda race: f"{race.role}, {race.taken}: {race.name}")
def test_race(race: Race, everybody: Installation) -> None:
    """By an open transaction, and by one of a connection that gets in while the right is taken, and is missed."""
    together = Together(everybody)
    me, statement, taken = begun(race, everybody)
    with everybody.connect(me) as connection, everybody.connect("root") as root:
        attacker = Side(connection)
        attacker.begin()
        attacker.does(statement)
        taking = together.start(Side(root), partial(root.execute, taken))
        waited = not taking.done()
        refusal = attacker.commit()
        taking.result()
    assert waited or refusal
    assert together.committed(attacker) == (refusal is None)
    if refusal is None:
        # It was before; a session that came of it is gone, or opens nothing.
        assert everybody.value(OPEN.format(user=everybody.facts[me])) == 0
    me, statement, taken = begun(race, everybody)
    with everybody.connect("root") as root:
        taker = Side(root)
        taker.begin()
        taker.does(taken)
        root.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with everybody.connect(me) as connection:
            attacker = Side(connection)
            attacker.begin()
            trying = together.start(attacker, partial(attacker.tries, statement))
            assert taker.commit() is None
            assert trying.result() or attacker.commit()
    assert not together.committed(attacker)
    # Who keeps the right, can.
    me, statement, _ = begun(race, everybody)
    with everybody.connect(me) as connection:
        lawful = Side(connection)
        lawful.begin()
        lawful.does(statement)
        assert lawful.commit() is None
    assert together.committed(lawful)
    together.close()
