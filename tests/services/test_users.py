"""Users: identity, states, plans, the last superadmin, imports, and why an upload would be refused."""

import io
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from dumacle_cli.errors import AlreadyExists, Conflict, DumacleError, InvalidValue, NotFound
from dumacle_cli.services import account_status, imports, users
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import Operation, PodGrant, QuotaLimit, Subscription, User
from tests.conftest import ROOT_EMAIL
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user

ENDUSERS = {"role": "enduser", "status": None, "after": None, "limit": 50}


@pytest.mark.unit
@pytest.mark.parametrize("email", ["", "ada", "a@", "@b", "a b@c", "a@b..c", "a@b\0", "a\udcff@b", "a@" + "b" * 260])
def test_emails_that_cannot_be(email: str) -> None:
    with pytest.raises(InvalidValue):
        users.normalised(email)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("typed", "stored"), [(" Ada@Example.COM ", "ada@example.com"), ("ä@x", "ä@x"), ("a@b", "a@b")]
)
def test_emails_are_stored_in_lower_case(typed: str, stored: str) -> None:
    assert users.normalised(typed) == stored


@pytest.mark.integration
@pytest.mark.parametrize("reference", ["0", "²", "9" * 30, "nobody@x", "a\udcff@x", ""])
def test_who_is_not_there_is_not_found(session: Session, reference: str) -> None:
    with pytest.raises(NotFound):
        users.get(session, reference)
    with pytest.raises(NotFound):
        account_status.show(session, reference)


@pytest.mark.integration
def test_a_user_is_found_by_id_and_by_any_case_of_the_email(session: Session) -> None:
    made, changed = users.create(session, "Ada@Example.com", name=" Ada ")
    assert changed
    assert (made.email, made.name, made.role, made.status) == ("ada@example.com", "Ada", "enduser", "active")
    assert users.get(session, str(made.id)).id == users.get(session, "ADA@example.com").id == made.id
    with pytest.raises(AlreadyExists):
        users.create(session, "ada@EXAMPLE.com")


@pytest.mark.integration
def test_states_change_once(session: Session) -> None:
    users.create(session, "ada@x")
    steps = (users.disable, users.enable, users.delete, users.restore)
    for step in steps:
        assert step(session, "ada@x")[1]
        assert not step(session, "ada@x")[1]
    assert users.get(session, "ada@x").status == "active"


@pytest.mark.integration
def test_delete_hides_and_frees_the_email(session: Session) -> None:
    first, _ = users.create(session, "ada@x")
    deleted, _ = users.delete(session, "ada@x")
    assert deleted.status == "disabled"
    assert deleted.deleted_at is not None
    assert users.list_(session, **ENDUSERS, sort="id").items == []
    second, _ = users.create(session, "ada@x")
    assert [user.id for user in users.list_(session, **ENDUSERS, sort="id").items] == [second.id]
    assert [user.id for user in users.list_(session, **ENDUSERS, sort="email", deleted=True).items] == [first.id]
    with pytest.raises(AlreadyExists):
        users.restore(session, str(first.id))
    users.update(session, str(second.id), email="other@x")
    assert users.restore(session, "ada@x")[0].id == first.id


@pytest.mark.integration
def test_update_changes_what_is_given(session: Session) -> None:
    users.create(session, "ada@x", name="Ada")
    users.create(session, "bob@x")
    changed, _ = users.update(session, "ada@x", email="Eve@x", role="admin")
    assert (changed.email, changed.name, changed.role) == ("eve@x", "Ada", "admin")
    assert users.update(session, "eve@x", name="")[0].name == ""
    assert not users.update(session, "eve@x", name="", role="admin", email="EVE@x")[1]
    with pytest.raises(AlreadyExists):
        users.update(session, "eve@x", email="bob@x")
    for wrong in ({"email": ""}, {"name": "a\0b"}, {"name": "x" * 256}):
        with pytest.raises(InvalidValue):
            users.update(session, "eve@x", **wrong)
    assert users.get(session, "eve@x").role == "admin"


@pytest.mark.integration
def test_the_last_superadmin_who_can_act_stays(database: Database) -> None:
    with database.session() as session:
        users.create(session, "root@x", role="superadmin")
        users.disable(session, ROOT_EMAIL)
    for step in (users.disable, users.delete, lambda s, who: users.update(s, who, role="admin")):
        with pytest.raises(Conflict, match="last superadmin"), database.session() as session:
            step(session, "root@x")
    with database.session() as session:
        users.enable(session, ROOT_EMAIL)
        assert users.delete(session, "root@x")[1]


@pytest.mark.integration
def test_two_superadmins_cannot_remove_each_other_at_once(database: Database) -> None:
    with database.session() as session:
        make_user(session, "a@x", role="superadmin")
        make_user(session, "b@x", role="superadmin")
        users.disable(session, ROOT_EMAIL)
    ready, outcomes = threading.Barrier(2), []

    def disable(who: str) -> None:
        try:
            with database.session() as session:
                users.get(session, who)
                ready.wait()
                outcomes.append(users.disable(session, who)[1])
        except DumacleError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=disable, args=[who]) for who in ("a@x", "b@x")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) in (["Conflict", "True"], ["DatabaseBusy", "True"])
    with database.session() as session:
        assert session.scalar(select(func.count()).where(User.status == "active")) == 1


@pytest.mark.integration
def test_pages_follow_each_other_in_each_order(session: Session) -> None:
    for letter in "dbace":
        users.create(session, f"{letter}@x", role="admin" if letter in "ab" else "enduser")
    for sort, expected in (("id", "dbace"), ("email", "abcde")):
        seen, after = "", None
        while True:
            page = users.list_(session, role=None, status=None, sort=sort, after=after, limit=2)
            seen += "".join(user.email[0] for user in page.items if user.email != ROOT_EMAIL)
            if (after := page.after) is None:
                break
        assert seen == expected
    users.disable(session, "a@x")
    filters = {"role": "admin", "status": "active", "sort": "id", "after": None, "limit": 9}
    assert [user.email for user in users.list_(session, **filters).items] == ["b@x"]


# Plans


@pytest.mark.integration
def test_a_plan_brings_its_pod(session: Session) -> None:
    pod, other = make_pod(session, "films"), make_pod(session, "photos")
    make_plan(session, "starter", default_pod_id=pod.id)
    make_plan(session, "pro", default_pod_id=other.id)
    made, _ = users.create(session, "ada@x", plan="starter")
    assert account_status.show(session, "ada@x").plan == "starter"
    changed, did = users.update(session, "ada@x", plan="pro")
    assert (changed.id, did) == (made.id, True)
    shown = account_status.show(session, "ada@x")
    assert (shown.plan, shown.subscription, shown.can_upload) == ("pro", "active", True)
    assert [(pod.name, pod.is_default) for pod in shown.pods] == [("films", True), ("photos", False)]
    assert not users.update(session, "ada@x", plan="pro")[1]
    statuses = session.scalars(select(Subscription.status).order_by(Subscription.id)).all()
    assert statuses == ["canceled", "active"]


@pytest.mark.integration
def test_plans_that_cannot_be_had(session: Session) -> None:
    make_plan(session, "old", archived_at=datetime.now(UTC))
    stripes = make_user(session, "bob@x")
    make_subscription(session, stripes, make_plan(session, "pro"), stripe_subscription_id="sub_1")
    make_plan(session, "free")
    with pytest.raises(NotFound):
        users.create(session, "a@x", plan="nope")
    with pytest.raises(Conflict, match="archived"):
        users.create(session, "b@x", plan="old")
    with pytest.raises(Conflict, match="Stripe"):
        users.update(session, "bob@x", plan="free")


@pytest.mark.integration
def test_a_plan_that_is_not_paid_is_started_anew(session: Session) -> None:
    make_subscription(session, make_user(session, "bob@x"), make_plan(session, "pro"), status="unpaid")
    assert account_status.show(session, "bob@x").plan == "pro"
    assert users.update(session, "bob@x", plan="pro")[1]
    assert account_status.show(session, "bob@x").subscription == "active"


# Why can he not upload?


def _reasons(session: Session, reference: str = "ada@x") -> list[str]:
    shown = account_status.show(session, reference)
    assert shown.can_upload is not bool(shown.reasons)
    assert all(reason.fix.startswith("dumacle ") for reason in shown.reasons)
    return [reason.reason for reason in shown.reasons]


@pytest.mark.integration
def test_each_reason_is_told_and_goes_with_its_cause(session: Session) -> None:
    user = make_user(session, "ada@x")
    assert _reasons(session) == ["there is no current subscription", "no pod is granted"]
    bought = make_subscription(
        session, user, make_plan(session, "pro", storage_limit=1, upload_limit=0), status="unpaid"
    )
    pod = make_pod(session, "films", used=10, capacity=10)
    make_grant(session, pod, user)
    users.disable(session, "ada@x")
    expected = ["the user is disabled", "the subscription to pro is unpaid", "pod films is full"]
    assert _reasons(session) == expected
    users.enable(session, "ada@x")
    bought.status, pod.used = "past_due", 9
    session.flush()
    assert _reasons(session) == ["the upload quota is used up"]
    make_grant(session, make_pod(session, "photos"), user)
    pod.used = 10
    session.add(QuotaLimit(user_id=user.id, metric="upload", limit=None))
    session.flush()
    assert _reasons(session) == []
    users.delete(session, "ada@x")
    assert _reasons(session) == ["the user is deleted"]


@pytest.mark.integration
def test_limits_of_his_own_need_no_plan(session: Session) -> None:
    user = make_user(session, "ada@x")
    make_grant(session, make_pod(session), user)
    session.add_all([QuotaLimit(user_id=user.id, metric=metric, limit=1) for metric in ("storage", "upload")])
    session.flush()
    assert _reasons(session) == []


@pytest.mark.integration
def test_reasons_are_about_the_file_that_was_refused(session: Session) -> None:
    user = make_user(session, "ada@x")
    session.add_all([QuotaLimit(user_id=user.id, metric=metric, limit=limit) for metric, limit in LIMITS.items()])
    films, photos = make_pod(session, "films", capacity=500), make_pod(session, "photos", capacity=100)
    make_grant(session, films, user)

    def told(size: int | None, pod: str = "", limit: int = 10_000) -> list[str]:
        found = account_status.show(session, "ada@x", size=size, pod=pod, max_file_size=limit)
        assert found.can_upload is not bool(found.reasons)
        assert pod or found.can_upload == (size is None or size <= (found.largest_upload or 0))
        return [each.reason for each in found.reasons]

    assert told(None) == told(0) == told(500) == []
    assert told(501) == ["pod films is too small: 500 B left, 501 B needed"]
    assert told(1001)[0] == "the storage quota is too small: 1000 B left, 1001 B needed"
    assert told(2001)[1] == "the upload quota is too small: 1.95 KiB left, 1.95 KiB needed"
    assert told(300, limit=299) == ["the file is 300 B, and the limit for a file is 299 B"]
    assert told(1, "photos") == ["pod photos is not granted"]
    make_grant(session, photos, user)
    assert told(101) == []
    assert told(101, "photos") == ["pod photos is too small: 100 B left, 101 B needed"]
    photos.deleted_at = films.deleted_at = datetime.now(UTC)
    session.flush()
    assert told(1) == ["pod films is deleted", "pod photos is deleted"]
    assert told(1, "films") == ["pod films is deleted"]


LIMITS = {"storage": 1000, "upload": 2000}


# Imports


def _entries(content: str | bytes, form: imports.Format = "csv") -> list[imports.Entry]:
    return list(imports.read(io.BytesIO(content.encode() if isinstance(content, str) else content), form))


@pytest.mark.unit
def test_csv_of_other_programs_is_read() -> None:
    found = _entries(b'\xef\xbb\xbf Plan ,EMAIL,name\r\npro, Ada@X ,"Ada, ""L"""\r\n\r\n,bob@x\r\n')
    assert found == [
        imports.Entry(2, "ada@x", 'Ada, "L"', "enduser", "pro"),
        imports.Entry(4, "bob@x", "", "enduser", ""),
    ]


@pytest.mark.unit
@pytest.mark.parametrize("header", ["", "name,role", "email,phone", "email,email", "ada@x"])
def test_a_bad_header_is_refused_at_once(header: str) -> None:
    with pytest.raises(InvalidValue, match="first line must name the columns"):
        imports.read(io.BytesIO(header.encode()), "csv")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"bad", "no form"),
        (b"\xff@x", "UTF-8"),
        (b"a@x,\xe4", "UTF-8"),
        (b"a@x,A,king", "one of superadmin"),
        (b"a@x,A,admin,,", "5 fields"),
        (b"a@x,a\0b", "printable"),
        (b"a@x," + b"n" * 200_000, "field larger"),
    ],
)
def test_a_bad_line_fails_alone(line: bytes, told: str) -> None:
    before, bad, after = _entries(b"email,name,role,plan\nfirst@x\n" + line + b"\nlast@x\n")
    assert (before.line, before.error, after.email, after.line, after.error) == (2, None, "last@x", 4, None)
    assert bad.line == 3
    assert told in str(bad.error)
    bad.email.encode()


@pytest.mark.unit
@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "1",
        '{"name": "x"}',
        '{"email": 1}',
        '{"email": "a@x", "x": ""}',
        "[" * 100_000,
        '{"email":"\\ud800@x"}',
    ],
)
def test_json_lines(line: str) -> None:
    good = '{"email": "A@x", "role": null, "name": "Ä"}'
    first, bad, last = _entries(f"\ufeff{good}\r\n\n{line}\n{good}", "jsonl")
    assert first == imports.Entry(1, "a@x", "Ä", "enduser", "")
    assert (bad.line, last.line, last.error) == (3, 4, None)
    assert bad.error


@pytest.mark.integration
def test_an_import_creates_in_sets_and_leaves_who_exists(session: Session) -> None:
    pod = make_pod(session)
    make_plan(session, "starter", default_pod_id=pod.id)
    make_plan(session, "old", archived_at=datetime.now(UTC))
    make_user(session, "bob@x", role="admin")
    lines = "email,plan\nada@x,starter\nADA@x,\nbob@x,starter\neve@x,nope\neve@x,old\neve@x,\n"
    results, changed = imports.create(session, _entries(lines))
    told = [(result.line, result.email, result.result, result.error) for result in results]
    assert told == [
        (2, "ada@x", "created", None),
        (3, "ada@x", "unchanged", None),
        (4, "bob@x", "unchanged", None),
        (5, "eve@x", "failed", "there is no plan nope"),
        (6, "eve@x", "failed", "plan old is archived"),
        (7, "eve@x", "created", None),
    ]
    assert changed
    assert session.scalars(select(PodGrant.user_id)).all() == [users.get(session, "ada@x").id]
    assert users.get(session, "bob@x").role == "admin"
    again, changed = imports.create(session, _entries("email\nada@x\neve@x\n"))
    assert not changed
    assert {result.result for result in again} == {"unchanged"}


@pytest.mark.integration
def test_an_import_costs_the_same_statements_for_any_number(session: Session) -> None:
    make_plan(session, "starter")
    counted: list[str] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *a: counted.append(a[2]))
    imports.create(session, _entries("email,plan\n" + "".join(f"u{n}@x,starter\n" for n in range(10))))
    few = len(counted)
    imports.create(session, _entries("email,plan\n" + "".join(f"v{n}@x,starter\n" for n in range(500))))
    assert len(counted) == 2 * few
    assert session.scalar(select(func.count()).select_from(Subscription)) == 510
    assert session.scalar(select(func.count()).select_from(Operation)) == 0


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    [
        b"email;name\r\na@x;Muster; A\r\n".replace(b"Muster; A", b'"Muster; A"'),
        b"\xef\xbb\xbfemail;name\na@x;Muster; A\n".replace(b"Muster; A", b'"Muster; A"'),
        b"email\tname\na@x\tMuster; A\n",
        b'sep=;\r\nemail;name\r\na@x;"Muster; A"\r\n',
        b"email,name\na@x,Muster; A\n",
    ],
)
def test_whatever_delimiter_a_spreadsheet_writes(text: bytes) -> None:
    (entry,) = imports.read(io.BytesIO(text), "csv")
    assert (entry.email, entry.name, entry.error) == ("a@x", "Muster; A", None)


@pytest.mark.unit
def test_a_header_with_another_delimiter_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidValue, match="separated by commas, semicolons or tabs"):
        list(imports.read(io.BytesIO(b"email|name\n"), "csv"))
