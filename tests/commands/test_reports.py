"""What is refused or fails is told with its reason in every form, and nothing is told that is not so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dumacle_cli import errors
from dumacle_cli.clients.objects import Location
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import QuotaLimit
from tests import factories
from tests.conftest import Run

pytestmark = pytest.mark.integration

ADA = "ada@example.com"


@pytest.fixture
def upload(run: Run, database: Database, bucket: Location, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Upload a file that fits, two that do not, and a link into nowhere."""
    with database.session() as session:
        ada, pod = factories.make_user(session, ADA), factories.make_pod(session, "films", bucket=bucket.bucket)
        factories.make_grant(session, pod, ada)
        session.add_all([QuotaLimit(user_id=ada.id, metric=metric, limit=1000) for metric in ("storage", "upload")])
    place = tmp_path / "in"
    place.mkdir()
    for name, size in (("a.bin", 10), ("large.bin", 5000), ("larger.bin", 6000)):
        (place / name).write_bytes(b"x" * size)

    def call(*more: str) -> tuple[str, str]:
        done = run("files", "upload", str(place), "--pod", "films", "--owner", ADA, *more, expect=3)
        return done.out, done.err

    return call


@pytest.mark.parametrize("more", [(), ("-q",), ("-o", "csv"), ("-o", "csv", "-q"), ("--dry-run",)])
def test_each_refused_file_is_told_in_words(more: tuple[str, ...], upload: Callable[..., tuple[str, str]]) -> None:
    told = upload(*more)[1]
    for name in ("large.bin", "larger.bin"):
        assert f"{name}: refused: the storage quota of {ADA} is too small: " in told
    assert "a.bin: " not in told


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("more", [(), ("-q",), ("--dry-run",)])
def test_each_refused_file_is_told_as_json(
    form: str, more: tuple[str, ...], upload: Callable[..., tuple[str, str]], run: Run
) -> None:
    told = [json.loads(line) for line in upload("-o", form, *more)[1].splitlines() if line.startswith("{")]
    failed = told.pop()
    assert (failed["schema"], failed["code"], failed["exit"]) == ("dumacle.error.v1", "upload-incomplete", 3)
    assert failed["message"].startswith("2 not uploaded; the first: large.bin: ")
    assert [each["path"] for each in told] == ["large.bin", "larger.bin"]
    for each in told:
        assert (each["schema"], each["result"]) == ("dumacle.warning.v1", "refused")
        assert "the storage quota" in each["error"]
        shown = run(*each["fix"].split()[1:], "-o", "json").data
        assert shown["can_upload"] is False
        assert [reason["reason"].partition(" is ")[0] for reason in shown["reasons"]] == [
            "the storage quota",
            "the upload quota",
        ]


FAULTS = [errors.DatabaseUnavailable, errors.DatabaseBusy, errors.DatabaseFull, errors.DatabaseReadOnly]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", ["table", "json"])
def test_nothing_was_changed_is_said_only_where_it_is_so(
    fault: type[errors.DumacleError], form: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dumacle_cli.services import imports

    monkeypatch.setattr(imports, "BATCH", 1)
    create, calls = imports.create, []

    def breaking(*given: object) -> object:
        calls.append(given)
        if len(calls) == broken_at:
            raise fault(reason="gone")
        return create(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(imports, "create", breaking)
    if fault is errors.DatabaseBusy:  # it is tried again before it is told
        monkeypatch.setattr("dumacle_cli.store.database.PAUSES", ())
    (tmp_path / "users.csv").write_text("email\na@x.de\nb@x.de\n")
    for breaks, expected in ((1, "nothing was changed; "), (2, "what was done before is kept; ")):
        calls.clear()
        broken_at = breaks
        failed = run("users", "import", str(tmp_path / "users.csv"), "-o", form, expect=10)
        assert expected in failed.err
    assert [each["email"] for each in run("users", "list", "-o", "json").data if "@x.de" in each["email"]] == ["a@x.de"]


def test_a_commit_whose_answer_was_lost_is_not_told_as_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first COMMIT arrives, its answer does not, and the database is read-only when it is asked again."""
    from contextlib import contextmanager

    from dumacle_cli.store import database

    transaction, tries = database.Database._transaction, []

    @contextmanager
    def losing(self: database.Database, dry_run: bool):  # type: ignore[no-untyped-def]
        tries.append(1)
        if len(tries) > 1:
            raise errors.DatabaseReadOnly(reason="a standby")
        with transaction(self, dry_run) as (session, commit):

            def lost() -> None:
                commit()
                raise errors.DatabaseUnavailable(reason="gone")

            yield session, lost

    monkeypatch.setattr(database.Database, "_transaction", losing)
    failed = run("users", "create", ADA, "-o", "json", expect=11)
    assert failed.error["code"] == "commit-unknown"
    monkeypatch.undo()


@pytest.mark.unit
def test_that_nothing_was_changed_stands_in_one_place() -> None:
    told = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DumacleError)
        if "nothing was changed" in kind.sentence + kind.fix
    ]
    assert told == [errors.Declined]
