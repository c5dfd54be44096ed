"""Check, then use: what somebody began with a right does not take effect once the right is gone, and the like."""

# ruff: noqa: E501 - one act is one line

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import psycopg
import pytest

from dumacle_cli.local.servers import Servers
from tests.identity import Installation, installation
from tests.store.interleaving import ENDED, Side, Together

pytestmark = pytest.mark.integration

_numbers = count(1)


@pytest.fixture(scope="module")
def everybody(embedded: Servers) -> Iterator[Installation]:
    with installation(embedded) as made:
        yield made


@pytest.fixture
def together(everybody: Installation) -> Iterator[Together]:
    made = Together(everybody)
    yield made
    made.close()


# Somebody acts with a right, and the right is taken

ACTS = {
    "superadmin: make a superadmin": "INSERT INTO app.users (email, role) VALUES ('backdoor{n}@example.com', 'superadmin')",
    "superadmin: raise another": "SELECT app.set_role({other}, 'admin')",
    "superadmin: lower another": "SELECT app.set_role({third}, 'enduser')",
    "superadmin: give another a password": "SELECT login.grant_personal({third}, '{verifier}')",
    "superadmin: give a service a password": "SELECT login.grant_service('cron', '{verifier}')",
    "superadmin: erase another": "SELECT app.erase_user({spare})",
    "superadmin: disable another": "UPDATE app.users SET status = 'disabled' WHERE id = {third}",
    "superadmin: rename another": "UPDATE app.users SET email = 'mine{n}@example.com' WHERE id = {third}",
    "superadmin: longer sessions": "UPDATE app.installation SET session_hours = 8760",
    "superadmin: another price": "UPDATE app.plans SET price = 0",
    "superadmin: another key": "UPDATE app.credentials SET ciphertext = 'mine'",
    "superadmin: count nothing": "UPDATE app.quota_counters SET used = 0",
    "superadmin: forge an event": "UPDATE app.stripe_events SET error = 'x'",
    "superadmin: an operation": "INSERT INTO app.operations (id, command, fingerprint) VALUES ('x', 'c', 'f')",
    "superadmin: a session": "SELECT login.open_session('{verifier}', 1)",
    "admin: make an enduser": "INSERT INTO app.users (email) VALUES ('backdoor{n}@example.com')",
    "admin: give an enduser a password": "SELECT login.grant_personal({other}, '{verifier}')",
    "admin: disable an enduser": "UPDATE app.users SET status = 'disabled' WHERE id = {other}",
    "admin: erase an enduser": "SELECT app.erase_user({spare})",
    "admin: give a pod": "INSERT INTO app.pod_grants (pod_id, user_id) VALUES ({pod_root}, {other})",
    "admin: no limit": "INSERT INTO app.quota_limits (user_id, metric) VALUES ({other}, 'upload')",
    "admin: a present": "INSERT INTO app.quota_grants (user_id, metric, period_start, amount) VALUES ({other}, 'upload', now(), 1)",
    "admin: a plan": "INSERT INTO app.subscriptions (user_id, plan_id, status) VALUES ({other}, {plan}, 'active')",
    "admin: take a file": "UPDATE app.files SET owner_id = {other} WHERE id = {file_bob}",
    "admin: give a content up": "UPDATE app.versions SET status = 'failed' WHERE id = {version_bob}",
    "admin: smaller pods": "UPDATE app.pods SET capacity = used + reserved",
    "admin: a lease": "SELECT app.take_lease({pod_ada}, {ada}, NULL, 1, 1, 60, now())",
    "admin: close leases": "SELECT app.close_lease(id) FROM app.leases",
    "admin: carry storage": "SELECT app.carry_storage(ARRAY[{ada}], ARRAY[0], ARRAY[0], {bob})",
    "admin: cancel work": "SELECT app.cancel_unit({unit_bob})",
    "admin: wake workers": "SELECT app.wake('q', 't', ARRAY['1'], 0)",
    "admin: a session": "SELECT login.open_session('{verifier}', 1)",
    "enduser: a session": "SELECT login.open_session('{verifier}', 1)",
    "enduser: an operation": "INSERT INTO app.operations (id, command, fingerprint) VALUES ('x', 'c', 'f')",
    "enduser: keep a password": "SELECT login.open_session('{verifier}', 1); ALTER ROLE CURRENT_USER PASSWORD '{verifier}'",
}  # fmt: skip

TAKES = {
    "superadmin: demoted": "SELECT app.set_role({who}, 'admin')",
    "admin: demoted": "SELECT app.set_role({who}, 'enduser')",
    "admin: promoted": "SELECT app.set_role({who}, 'superadmin')",
    "enduser: promoted": "SELECT app.set_role({who}, 'superadmin')",
    "disabled": "UPDATE app.users SET status = 'disabled' WHERE id = {who}",
    "deleted": "UPDATE app.users SET status = 'disabled', deleted_at = now() WHERE id = {who}",
    "revoked": "SELECT login.revoke_user({who})",
}
PAIRS = [
    (role, act, take)
    for role, act in (each.split(": ") for each in ACTS)
    for take in TAKES
    if ": " not in take or take.startswith(f"{role}: ")
]


@dataclass(frozen=True, slots=True)
class Scene:
    """Who acts, what they do, and how the right is taken from them, as SQL."""

    who: str
    act: str
    take: str


def scene(everybody: Installation, role: str, act: str, take: str) -> Scene:
    who = everybody.person("actor", role)
    others = {"other": "enduser", "third": "admin", "spare": "enduser"}
    facts = {name: everybody.facts[everybody.person(name, of)] for name, of in others.items()}
    facts |= {"who": everybody.facts[who], "n": next(_numbers)}
    return Scene(
        who,
        everybody.say(ACTS[f"{role}: {act}"].format_map(Unfilled(facts))),
        everybody.say(TAKES[take].format_map(Unfilled(facts))),
    )


class Unfilled(dict[str, Any]):
    """Leaves what it does not know to be filled in later."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


@pytest.mark.parametrize(("role", "act"), [each.split(": ") for each in ACTS])
def test_control_who_keeps_the_right_acts(role: str, act: str, everybody: Installation, together: Together) -> None:
    found = scene(everybody, role, act, "disabled")
    with everybody.connect(found.who) as connection:
        side = Side(connection)
        side.begin()
        side.does(found.act)
        assert side.commit() is None
    assert together.committed(side)


def higher(take: str) -> bool:
    """Whether the personal login ends, too."""
    return take in ("revoked", "admin: promoted", "enduser: promoted")


@pytest.mark.parametrize(("role", "act", "take"), PAIRS)
def test_right_is_taken_from_an_open_transaction(
    role: str, act: str, take: str, everybody: Installation, together: Together
) -> None:
    found = scene(everybody, role, act, take)
    with everybody.connect(found.who) as connection, everybody.connect("root") as root:
        actor = Side(connection)
        actor.begin()
        actor.does(found.act)
        taken = together.start(Side(root), lambda: root.execute(found.take))
        waited = not taken.done()
        refused = actor.commit()
        taken.result()
        assert waited or isinstance(refused, ENDED)
        assert together.committed(actor) == (refused is None)
    # What took effect was before, and whoever took the right waited for it: no session of before is left.
    left = f"SELECT count(*) FROM app.logins WHERE user_id = {{{found.who}}} AND (kind = 'session' OR {higher(take)})"
    assert everybody.value(left) == 0 or take in ("disabled", "deleted")


@pytest.mark.parametrize(("role", "act", "take"), PAIRS)
def test_right_is_taken_while_a_connection_gets_in(
    role: str, act: str, take: str, everybody: Installation, together: Together
) -> None:
    found = scene(everybody, role, act, take)
    with everybody.connect("root") as root:
        taker = Side(root)
        taker.begin()
        taker.does(found.take)
        # What ends connections has run, and is not committed: who comes now is missed.
        root.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with everybody.connect(found.who) as connection:
            actor = Side(connection)
            actor.begin()
            begun = together.start(actor, partial(actor.tries, found.act))
            assert taker.commit() is None
            refused = begun.result() or actor.commit()
            assert refused is not None
            assert refused.sqlstate in ("28000", "42501", "55P03", "42704", "XX000"), refused
        assert not together.committed(actor)


@pytest.mark.parametrize(("role", "take"), [("superadmin", "demoted"), ("admin", "demoted"), ("admin", "promoted")])
def test_nobody_stays_what_they_are_by_keeping_their_row(
    role: str, take: str, everybody: Installation, together: Together
) -> None:
    act = {"superadmin": "make a superadmin", "admin": "make an enduser"}[role]
    found = scene(everybody, role, act, f"{role}: {take}")
    with everybody.connect(found.who) as connection, everybody.connect("root") as root:
        actor = Side(connection)
        actor.begin()
        actor.does(found.act)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        root.execute(found.take)
        assert isinstance(actor.commit(), ENDED)
    assert not together.committed(actor)


def test_nobody_keeps_a_login_by_keeping_their_row(everybody: Installation, together: Together) -> None:
    found = scene(everybody, "admin", "a session", "revoked")
    with everybody.connect(found.who) as connection, everybody.connect("root") as root:
        actor = Side(connection)
        actor.begin()
        actor.does(found.act)
        root.execute(found.take)
        assert isinstance(actor.commit(), ENDED)
    assert not together.committed(actor)


# Somebody acts on a user, who becomes another meanwhile

ON_A_USER = {
    "give a password": "SELECT login.grant_personal({t}, '{verifier}')",
    "end the login": "SELECT login.revoke('{login_t}')",
    "end all logins": "SELECT login.revoke_user({t})",
    "erase": "SELECT app.erase_user({t})",
    "disable": "UPDATE app.users SET status = 'disabled' WHERE id = {t}",
    "delete": "UPDATE app.users SET status = 'disabled', deleted_at = now() WHERE id = {t}",
    "another address": "UPDATE app.users SET email = 'mine{n}@example.com' WHERE id = {t}",
    "lock": "SELECT app.lock_user({t})",
}
BECOMES = {
    "promoted": "SELECT app.set_role({t}, 'superadmin')",
    "promoted to an admin": "SELECT app.set_role({t}, 'admin')",
    "disabled": "UPDATE app.users SET status = 'disabled' WHERE id = {t}",
    "deleted": "UPDATE app.users SET status = 'disabled', deleted_at = now() WHERE id = {t}",
    "erased": "SELECT app.erase_user({t})",
}


def target(everybody: Installation, statement: str) -> tuple[int, str]:
    who = everybody.person("target", "enduser")
    facts = {"t": everybody.facts[who], "login_t": everybody.logins[who], "n": next(_numbers)}
    everybody.facts |= facts
    return facts["t"], everybody.say(statement)


@pytest.mark.parametrize("becomes", BECOMES)
@pytest.mark.parametrize("act", ON_A_USER)
def test_admin_acts_on_whom_another_is_changing(
    act: str, becomes: str, everybody: Installation, together: Together
) -> None:
    """The admin waits, and then finds a superadmin, or nobody: on whom they may not act."""
    changed, statement = target(everybody, ON_A_USER[act])
    before = everybody.value("SELECT max(id) FROM app.audit")
    with everybody.connect("root") as root, everybody.connect("admin") as admin:
        changer, actor = Side(root), Side(admin)
        changer.begin()
        changer.does(everybody.say(BECOMES[becomes]))
        begun = together.start(actor, lambda: rows(admin, statement))
        assert changer.commit() is None
        refusal = begun.exception()
        assert refusal is None or (isinstance(refusal, psycopg.Error) and refusal.sqlstate in ("42501", "P0002"))
        found = 0 if refusal else begun.result()
    by = f"login = '{everybody.logins['admin']}' AND (row_id = '{changed}' OR on_behalf_of = {changed}) AND id > {before}"
    done = everybody.value(f"SELECT count(*) FROM app.audit WHERE {by}")
    if becomes.startswith("promoted") or becomes == "erased":
        assert (found > 0 and act in ("erase", "end all logins") and becomes == "erased") or done == 0
    if becomes == "deleted" and act == "give a password":
        assert done == 0


@pytest.mark.parametrize("act", ON_A_USER)
def test_who_is_promoted_owes_nothing_to_what_an_admin_began(
    act: str, everybody: Installation, together: Together
) -> None:
    """The promotion waits for the admin, and then ends the login that the admin knows the password of."""
    changed, statement = target(everybody, ON_A_USER[act])
    with everybody.connect("root") as root, everybody.connect("admin") as admin:
        actor, changer = Side(admin), Side(root)
        actor.begin()
        actor.does(statement)
        begun = together.start(changer, lambda: root.execute(everybody.say(BECOMES["promoted"])))
        assert actor.commit() is None
        begun.result()
    risen = f"EXISTS (SELECT FROM app.users WHERE id = {changed} AND role = 'superadmin')"
    assert everybody.value(f"SELECT count(*) FROM app.logins WHERE user_id = {changed} AND {risen}") == 0
    assert act in ("erase", "delete") or everybody.value(f"SELECT {risen}")


def rows(connection: psycopg.Connection[Any], statement: str) -> int:
    return connection.execute(statement).rowcount
