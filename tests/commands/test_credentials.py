"""`pods credentials` and `key` through the only door: no secret is told, and no untried keys are used."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.commands.key import LOSS
from dumacle_cli.store.database import Database
from tests.conftest import Result, Run
from tests.factories import make_grant, make_plan, make_pod, make_subscription, make_user

pytestmark = pytest.mark.integration

JSON = ("-o", "json")
each = pytest.mark.parametrize("provider", ["s3", "wasabi", "oracle"])
WRONG = "WRONGACCESSKEY\nwrong-secret-key\n"


@pytest.fixture
def provider() -> str:
    """Where the pod lies; tests of what a pod's own keys do take each provider in turn."""
    return "s3"


@pytest.fixture
def own(
    run: Run, provider: str, database: Database, bucket: Location, tmp_path: Path, environment: Callable[..., None]
) -> str:
    """A pod at a provider that ada may use, a key, and no setting that opens its bucket; returns what opens it."""
    with database.session() as session:
        pod = make_pod(session, "films", primary_provider=provider, bucket=bucket.bucket)
        ada = make_user(session, "ada@example.com")
        make_grant(session, pod, ada)
        make_subscription(session, ada, make_plan(session))
    environment(DUMACLE_KEY_SOURCE=f"file:{tmp_path / 'key'}", DUMACLE_ORACLE_NAMESPACE="ours")
    run("key", "create", f"file:{tmp_path / 'key'}", "--yes")
    keys = {"access_key": bucket.access_key, "secret_key": bucket.secret_key, "endpoint": bucket.endpoint}
    return json.dumps(keys)


@pytest.mark.parametrize("more", [("--yes",), ("--yes", "-o", "json"), ("--dry-run",)])
def test_the_warning_about_a_key_is_printed_in_lines(invoke: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    said = invoke("key", "create", f"file:{tmp_path / 'key'}", *more).err
    assert "\\u000a" not in said
    assert said.splitlines()[: len(LOSS.splitlines())] == LOSS.splitlines()


def put(run: Run, keys: str, *more: str, provider: str = "s3", expect: int = 0) -> Result:
    own = ("films", "--provider", provider, "--from", "-")
    return run("pods", "credentials", "set", *own, *more, stdin=keys, expect=expect)


def use(run: Run, *more: str, provider: str = "s3", expect: int = 0) -> Result:
    return run("pods", "update", "films", f"--use-custom-{provider}", *more, *JSON, expect=expect)


@each
def test_a_pod_with_keys_of_its_own(run: Run, provider: str, own: str, bucket: Location, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("its own")
    upload = ("files", "upload", tmp_path / "a.txt", "--pod", "films", "--owner", "ada@example.com")
    assert f"{provider}_access_key" in run(*upload, expect=2).err
    put(run, own, provider=provider)
    assert use(run, provider=provider).data["own_credentials"] == [provider]
    run(*upload)
    assert run("files", "download", "a.txt", "--owner", "ada@example.com", "--to", "-").out == "its own"
    link = run("files", "url", "a.txt", "--owner", "ada@example.com", *JSON).data["url"]
    assert bucket.access_key in link
    assert run("files", "verify", *JSON).data[0]["result"] == "verified"
    run("files", "delete", "a.txt", "--owner", "ada@example.com", "--yes")
    run("files", "purge", "--older-than", "0s", "--yes")
    with ObjectStore(bucket) as objects:
        assert list(objects.list("")) == []


def test_the_systems_own_keys(run: Run, own: str, bucket: Location, tmp_path: Path) -> None:
    default = ("--default", "--provider", "s3")
    run("pods", "credentials", "set", *default, "--from", "-", stdin=own)
    (tmp_path / "a.txt").write_text("x")
    run("files", "upload", tmp_path / "a.txt", "--pod", "films", "--owner", "ada@example.com")
    shown = run("pods", "credentials", "test", *default, "--set", f"s3_bucket={bucket.bucket}", *JSON).data
    assert shown["pod"] is None
    assert shown["proven_at"]
    assert run("pods", "credentials", "clear", *default, "--yes", *JSON).json["changed"] is True
    assert run("pods", "credentials", "clear", *default, "--yes", *JSON).json["changed"] is False


@each
def test_wrong_keys_are_refused_and_change_nothing(
    run: Run, provider: str, own: str, bucket: Location, database: Database
) -> None:
    put(run, WRONG, "--endpoint", bucket.endpoint or "", provider=provider)
    refused = use(run, provider=provider, expect=5)
    assert refused.error["code"] == "keys-refused"
    assert "wrong-secret-key" not in refused.err
    assert run("pods", "show", "films", *JSON).data["own_credentials"] == []
    run("pods", "credentials", "test", "films", "--provider", provider, expect=5)
    assert run("pods", "credentials", "show", "films", *JSON).data[0]["proven_at"] is None


@each
def test_without_a_credential_it_is_refused(run: Run, provider: str, own: str) -> None:
    refused = use(run, provider=provider, expect=6)
    assert refused.error["message"] == f"pod films has no credential for {provider} that this login may read"
    assert refused.error["fix"] == f"dumacle pods credentials set films --provider {provider} --from FILE"


@each
def test_keys_in_use_are_replaced_only_by_such_that_work(run: Run, provider: str, own: str, bucket: Location) -> None:
    put(run, own, provider=provider)
    use(run, provider=provider)
    put(run, WRONG, "--endpoint", bucket.endpoint or "", provider=provider, expect=5)
    run("pods", "credentials", "test", "films", "--provider", provider)
    assert json.loads(put(run, own, *JSON, provider=provider).out)["data"]["proven_at"]
    kept = run("pods", "credentials", "clear", "films", "--provider", provider, "--yes", *JSON, expect=7)
    assert kept.error["fix"] == f"first: dumacle pods update films --no-use-custom-{provider}"


@each
def test_keys_to_another_bucket_are_refused_where_files_lie(
    run: Run, provider: str, own: str, bucket: Location, object_store: ObjectStore, tmp_path: Path
) -> None:
    put(run, own, provider=provider)
    use(run, provider=provider)
    (tmp_path / "a.txt").write_text("x")
    run("files", "upload", tmp_path / "a.txt", "--pod", "films", "--owner", "ada@example.com")
    assert f"{provider}_access_key" in run("pods", "update", "films", f"--no-use-custom-{provider}", expect=2).err
    object_store.delete([entry.key for entry in object_store.list("")])
    assert use(run, provider=provider, expect=12).error["code"] == "object-missing"


@each
def test_a_dry_run_asks_no_store(run: Run, provider: str, own: str) -> None:
    put(run, '{"access_key": "a", "secret_key": "s", "endpoint": "http://127.0.0.1:9"}', provider=provider)
    assert use(run, "--dry-run", provider=provider).data["own_credentials"] == [provider]
    use(run, provider=provider, expect=10)


def test_a_credential_needs_its_key(run: Run, own: str, tmp_path: Path, environment: Callable[..., None]) -> None:
    put(run, own)
    use(run)
    key_id = run("key", "check", *JSON).data[0]["key_id"]
    run("key", "create", f"file:{tmp_path / 'other'}", "--yes")
    environment(DUMACLE_KEY_SOURCE=f"file:{tmp_path / 'other'}")
    refused = run("pods", "credentials", "test", "films", "--provider", "s3", *JSON, expect=2)
    assert refused.error["code"] == "key-missing"
    assert key_id in refused.error["message"]
    assert key_id in refused.error["fix"]
    rows = run("key", "check", *JSON, expect=12).data
    assert [(row["available"], row["credentials"], row["unopened"]) for row in rows] == [
        (True, 0, []),
        (False, 1, ["films/s3"]),
    ]
    environment(DUMACLE_KEY_SOURCE=None)
    assert "key_source" in run("pods", "credentials", "test", "films", "--provider", "s3", expect=2).err


def test_rotation(run: Run, own: str, tmp_path: Path, environment: Callable[..., None]) -> None:
    put(run, own)
    fresh = f"file:{tmp_path / 'fresh'}"
    made = run("key", "create", fresh, "--yes", *JSON).data
    done = run("pods", "credentials", "rotate-key", "--to", fresh, *JSON)
    assert (done.data["rewrapped"], done.data["new_key_id"]) == (1, made["key_id"])
    again = run("pods", "credentials", "rotate-key", "--to", fresh, *JSON)
    assert (again.data["rewrapped"], again.json["changed"]) == (0, False)
    environment(DUMACLE_KEY_SOURCE=fresh)
    run("pods", "credentials", "test", "films", "--provider", "s3")


# What is told


def test_no_secret_is_told_or_kept(run: Run, own: str, database: Database) -> None:
    secret = json.loads(own)["secret_key"]
    told = [put(run, own, "-vv"), use(run, "-vv")]
    told += [run("pods", "credentials", verb, "films", *more, *JSON, "-vv") for verb, *more in SHOWING]
    assert not [each for each in told if secret in each.out + each.err]
    with database.session() as session:
        names = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'app'")).all()
        for name in names:
            rows = session.scalar(text(f"SELECT string_agg(t::text, ' ') FROM app.{name} AS t"))
            assert secret not in (rows or "")
            assert secret.encode().hex() not in (rows or "")


SHOWING = [("show",), ("test", "--provider", "s3")]
BAD = {
    "one line": "AKIAMARKED",
    "three lines": "AKIAMARKED\nmarked\nmarked",
    "no secret": '{"access_key": "AKIAMARKED"}',
    "not JSON": '{"access_key": "AKIAMARKED", marked',
    "a list": '["AKIAMARKED", "marked"]',
    "something else": '{"access_key": "AKIAMARKED", "secret_key": "marked", "password": "marked"}',
    "a number": '{"access_key": "AKIAMARKED", "secret_key": 7}',
    "nothing": "",
    "two in a line": "AKIAMARKED\nmar\tked",
}


@pytest.mark.parametrize("bad", BAD)
def test_what_are_no_keys_is_refused_and_not_repeated(bad: str, run: Run, own: str) -> None:
    refused = put(run, BAD[bad], *JSON, expect=2)
    assert refused.error["code"] == "invalid-value"
    assert "marked" not in refused.err.lower()


def test_keys_are_never_typed(run: Run, own: str) -> None:
    refused = run("pods", "credentials", "set", "films", "--provider", "s3", expect=2)
    assert "--from FILE" in refused.err
    for pod in ((), ("films", "--default")):
        assert "--default" in run("pods", "credentials", "show", *pod, expect=2).err


def test_two_lines_in_a_file(run: Run, own: str, bucket: Location, tmp_path: Path) -> None:
    (tmp_path / "pair").write_text(f"{bucket.access_key}\n{bucket.secret_key}\n")
    more = ("--endpoint", bucket.endpoint or "", "--region", "eu-west-1")
    shown = run(
        "pods", "credentials", "set", "films", "--provider", "s3", "--from", tmp_path / "pair", *more, *JSON
    ).data
    assert (shown["endpoint"], shown["region"]) == (bucket.endpoint, "eu-west-1")
    assert shown["access_key"] == f"****{bucket.access_key[-4:]}"
    use(run)


# The key


def test_losing_the_key_is_explained_before_it_is_made(run: Run, tmp_path: Path) -> None:
    source = f"file:{tmp_path / 'key'}"
    refused = run("key", "create", source, expect=2)
    assert "If it is lost, all credentials are lost" in refused.err
    assert not (tmp_path / "key").exists()
    made = run("key", "create", source, "--yes")
    assert "If it is lost, all credentials are lost" in made.err
    assert "escrow" in made.err
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o400
    assert (tmp_path / "key").read_text().strip() not in made.out + made.err
    run("key", "create", source, "--yes", expect=7)


def test_a_worker_sees_new_keys(run: Run, own: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from dumacle_cli import stores
    from dumacle_cli.context import Context
    from dumacle_cli.store.places import Place

    put(run, own)
    use(run)
    with database.session() as session:
        place = Place(
            "s3", session.scalar(text("SELECT bucket FROM app.pods")), session.scalar(text("SELECT id FROM app.pods"))
        )
    context = Context(None, None)
    try:
        first = context.stores.open(place)
        assert context.stores.open(place) is first
        put(run, own.replace(urlsplit(json.loads(own)["endpoint"]).hostname or "", "localhost"))
        assert context.stores.open(place) is first
        monkeypatch.setattr(stores, "KEYS_SECONDS", -1)
        assert "localhost" in (context.stores.open(place).location.endpoint or "")
    finally:
        context.close()
