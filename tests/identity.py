"""An installation with everybody in it, each with a login of his own, and rows of everybody in every table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from dumacle_cli.local import servers
from dumacle_cli.local.servers import SUPERUSER, Servers
from dumacle_cli.store import bootstrap, rights, schema
from dumacle_cli.store.database import Database, Timeouts
from dumacle_cli.store.models import (
    BillingAccount,
    Copy,
    Credential,
    Customer,
    Finding,
    Lease,
    Login,
    Operation,
    PlanPrice,
    Pod,
    Probe,
    ProviderDefault,
    QuotaAnchor,
    QuotaClosing,
    QuotaEntry,
    QuotaGrant,
    QuotaLimit,
    Run,
    StripeEvent,
    StripeObject,
    StripePayload,
    Unit,
    User,
)
from tests.factories import (
    make_file,
    make_grant,
    make_plan,
    make_pod,
    make_rendition,
    make_subscription,
    make_transcode,
    make_user,
)

PEOPLE = {"root": "superadmin", "rosa": "superadmin", "admin": "admin", "ada": "enduser", "bob": "enduser"}
SPARE = {"ida": "enduser", "eve": "enduser"}
"""Endusers without rows; ida has a login that is never used, eve has none."""
JANUARY = {"period_start": datetime(2026, 1, 1, tzinfo=UTC), "period_end": datetime(2026, 2, 1, tzinfo=UTC)}


@dataclass(slots=True)
class Installation:
    """A database of its own with people, services, a stranger (a login without a user) and nobody (no CONNECT).

    `facts` are the ids and names that statements speak of; connections are kept, one for each who acts.
    """

    servers: Servers
    database: str
    facts: dict[str, Any]
    logins: dict[str, str]
    kept: dict[str, psycopg.Connection[Any]] = field(default_factory=dict)

    def url(self, who: str) -> str:
        """The URL of the database for somebody, or for `owner` and `superuser`."""
        if who == "superuser":
            return servers.url(self.servers, SUPERUSER, self.servers.postgres_password, self.database)
        return servers.url(self.servers, self.logins[who], self.servers.owner_password, self.database)

    def connect(self, who: str) -> psycopg.Connection[Any]:
        """Open a connection of somebody's own."""
        return psycopg.connect(self.url(who), autocommit=True)

    def as_(self, who: str) -> psycopg.Connection[Any]:
        """The kept connection of somebody, in no transaction."""
        if who not in self.kept or self.kept[who].closed:
            self.kept[who] = self.connect(who)
        return self.kept[who]

    def say(self, statement: str) -> str:
        """Fill in what a statement speaks of."""
        return statement.format_map(self.facts)

    def person(self, name: str, role: str) -> str:
        """Make somebody of this role with a login, for one test; returns the name by which they are known here."""
        who = f"{name}_{uuid4().hex[:8]}"
        make = f"INSERT INTO app.users (email, role) VALUES ('{who}@example.com', '{role}') RETURNING id"
        self.facts[who] = self.value(make)
        self.logins[who] = self.value(f"SELECT login.grant_personal({self.facts[who]}, '{{verifier}}')")
        self.facts[f"login_{who}"] = self.logins[who]
        return who

    def value(self, statement: str) -> Any:
        """Ask as a superuser, whom nothing binds, for one value."""
        row = self.as_("superuser").execute(self.say(statement)).fetchone()
        return row[0] if row else None


@contextmanager
def installation(up: Servers, since: str = "head") -> Iterator[Installation]:
    """Make an installation that was filled at a revision and then brought to the present one.

    As a provider's managed server would have it: no superuser had a hand in it, so there is no guard.
    """
    name = f"everybody_{uuid4().hex[:8]}"
    owner = f"owner_of_{name}"
    bootstrap.bootstrap(_manager(up, name), name, owner, up.owner_password)
    made = Installation(up, name, {"P": name, "O": owner}, {"owner": owner})
    schema.upgrade(made.url("owner"), since)
    database = Database(made.url("owner"), Timeouts())
    with database.session(check_schema=False) as session:
        made.facts |= fill(session)
    schema.upgrade(made.url("owner"))
    _log_in(made)
    with database.session() as session:
        users = dict(iter(session.execute(select(Login.role, Login.user_id))))
        session.add_all(
            Operation(id=f"of {who}", command="c", fingerprint="f", login=login, user_id=users.get(login, 0))
            for who, login in made.logins.items()
        )
        session.execute(
            text("INSERT INTO app.rendition_copies (rendition_id, provider) SELECT id, 's3' FROM app.renditions")
        )
        session.add_all(
            [
                BillingAccount(account="acct_1", livemode=True, left_at=JANUARY["period_start"]),
                _price(made),
                *_found(made),
            ]
        )
        session.execute(
            text("INSERT INTO app.pauses (pod_id, until, error) SELECT id, now(), 'it is away' FROM app.pods")
        )
        session.execute(text("INSERT INTO app.workers (name, slots, queues) VALUES ('here:1', 1, 'transcode')"))
        session.execute(text("INSERT INTO app.hook_calls (transcode_id) SELECT id FROM app.transcodes"))
        session.execute(text("INSERT INTO app.parts SELECT id, 1, 1, 'e', sha256('a') FROM app.versions"))
        session.execute(text("INSERT INTO app.outages (pod_id, provider, error) SELECT id, 's3', 'away' FROM app.pods"))
        session.execute(text("SELECT app.note_webhook_secrets(ARRAY['first'], ARRAY['01234567'])"))
        found: dict[str, Any] = {"proof": "md5-etag", "found": {"multipart": True}, "measured": {}}
        session.add_all(
            Probe(pod_id=pod_id, provider="local", endpoint="", bucket="b", **found)
            for pod_id in session.scalars(select(Pod.id))
        )
    database.close()
    made.as_("owner").execute("ANALYZE")
    try:
        yield made
    finally:
        for connection in made.kept.values():
            connection.close()
        _drop(made)


def _price(made: Installation) -> PlanPrice:
    return PlanPrice(price_id="price_1", plan_id=made.facts["plan"], amount=900, currency="eur", interval="month")


def _found(made: Installation) -> list[Finding]:
    """Return what was found about each who has rows, and about the account."""
    about: dict[str, int | None] = {name: made.facts[name] for name in ("ada", "bob", "root")} | {"account": None}
    told = {"kind": "paid-twice", "severity": "error", "sentence": "s", "fix": "f"}
    return [Finding(object_id=name, user_id=user, **told) for name, user in about.items()]


def _manager(up: Servers, name: str) -> str:
    """Make who administers a managed server: not a superuser. Returns his URL."""
    manager = f"manager_of_{name}"
    statement = sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}")
    with psycopg.connect(up.admin_url, autocommit=True) as admin:
        admin.execute(statement.format(sql.Identifier(manager), up.owner_password))
    return servers.url(up, manager, up.owner_password, "postgres")


def fill(session: Session) -> dict[str, Any]:
    """Insert the people, and rows of ada, bob and root in every table; returns ids by name."""
    people = {name: make_user(session, f"{name}@example.com", role=role) for name, role in (PEOPLE | SPARE).items()}
    facts: dict[str, Any] = {name: user.id for name, user in people.items()}
    plan = make_plan(session, "starter", storage_limit=2**40, upload_limit=2**40, transcode_limit=3600)
    for name in ("ada", "bob", "root"):
        facts |= {f"{key}_{name}": value for key, value in _belongings(session, people[name], plan).items()}
    session.add_all([ProviderDefault(provider="s3"), StripeObject(id="sub_1", kind="subscription", want=1)])
    session.add(StripeEvent(id="evt_1", type="invoice.paid", created_at=JANUARY["period_start"]))
    session.flush()
    session.add(StripePayload(event_id="evt_1", payload=b"private"))
    return facts | {"plan": plan.id}


def _belongings(session: Session, user: User, plan: Any) -> dict[str, int]:
    pod = make_pod(session, f"of {user.email}")
    make_grant(session, pod, user)
    make_subscription(session, user, plan)
    file = make_file(session, pod, user, "film.mp4")
    assert file.version_id
    waiting = make_transcode(session, file, "audio", "queued")
    unit = session.scalars(select(Unit).where(Unit.transcode_id == waiting.id)).one()
    make_rendition(session, make_transcode(session, file))
    known = {"name": f"of {user.email}", "pod_id": pod.id, "owner_id": user.id, "selection_hash": b"h"}
    run = session.scalars(insert(Run).values(**known, host="h", pid=1).returning(Run.id)).one()
    keys = {"provider": "s3", "ciphertext": b"c", "wrapped_key": b"k", "key_id": "id"}
    session.add(Credential(pod_id=pod.id, **keys))
    session.execute(insert(Copy).values(version_id=file.version_id, provider="local"))
    session.flush()
    mine: dict[str, Any] = {"user_id": user.id}
    monthly = mine | {"metric": "upload", "period_start": JANUARY["period_start"]}
    session.execute(insert(Customer).values(stripe_customer_id=f"cus_{user.id}", **mine))
    session.add_all(
        [
            QuotaAnchor(effective_from=JANUARY["period_start"], anchor=JANUARY["period_start"], **mine),
            QuotaLimit(metric="transcode", limit=60, **mine),
            QuotaGrant(amount=1, **monthly),
            QuotaEntry(id=f"of {user.id}", delta=1, occurred_at=JANUARY["period_start"], **monthly),
            QuotaClosing(period_end=JANUARY["period_end"], used=1, **monthly),
            Lease(
                pod_id=pod.id,
                run_id=run,
                granted=0,
                until=datetime.now(UTC) + timedelta(hours=1),
                period_start=JANUARY["period_start"],
                **mine,
            ),
        ]
    )
    session.flush()
    return {
        "pod": pod.id,
        "file": file.id,
        "transcode": waiting.id,
        "unit": unit.id,
        "version": file.version_id,
        "run": run,
    }


def _log_in(made: Installation) -> None:
    """Give everybody a login by the functions of the schema `login`, and make the two outsiders."""
    owner, superuser = made.as_("owner"), made.as_("superuser")
    password = made.servers.owner_password
    verifier = made.facts["verifier"] = owner.pgconn.encrypt_password(password.encode(), b"", b"scram-sha-256").decode()
    for person in (*PEOPLE, "ida"):
        made.logins[person] = _only(owner, "SELECT login.grant_personal(%s, %s)", made.facts[person], verifier)
    for duty in rights.DUTIES:
        made.logins[duty] = _only(made.as_("root"), "SELECT login.grant_service(%s, %s)", duty, verifier)
    for name in ("session", "idle"):
        made.logins[name] = _only(made.as_("ada"), "SELECT role FROM login.open_session(%s, 1)", verifier)
    for name in ("stranger", "nobody"):
        made.logins[name] = f"{made.database}_{name}"
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(made.logins[name]), verifier)
        superuser.execute(statement)
    granted = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE")
    group = sql.Identifier(rights.group(made.database, "superadmin"))
    superuser.execute(granted.format(group, sql.Identifier(made.logins["stranger"])))
    made.facts |= {f"login_{name}": login for name, login in made.logins.items()}
    users = superuser.execute("SELECT 'user_' || duty, user_id FROM app.logins WHERE duty IS NOT NULL")
    made.facts |= dict(users.fetchall())
    made.facts["of_root"] = _only(made.as_("root"), "SELECT lo_from_bytea(0, 'private')")
    made.facts |= {"token": uuid4().hex, "uuid": str(uuid4())}
    claimed = "SELECT app.claim_unit({unit_ada}, '{uuid}', 'w', 60, 3)"
    made.facts["claimed"] = made.say(claimed)
    extensions = "SELECT name FROM pg_available_extensions WHERE installed_version IS NULL ORDER BY name <> 'dblink', 1"
    made.facts["extension"] = _only(superuser, extensions)
    # Whose statement others would like to read or to end.
    made.kept["spare"] = made.connect("root")
    made.facts["pid_root"] = _only(made.kept["spare"], "SELECT pg_backend_pid()")


def _only(connection: psycopg.Connection[Any], statement: str, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]


def _drop(made: Installation) -> None:
    with psycopg.connect(made.servers.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made.database)))
        own = admin.execute("SELECT rolname FROM pg_roles WHERE strpos(rolname, %s) > 0", [made.database])
        roles = sql.SQL(", ").join(sql.Identifier(role) for (role,) in own.fetchall())
        admin.execute(sql.SQL("DROP ROLE {}").format(roles))
