"""Direct uploads: what a client sends with presigned links counts once, is proven, and can be ended at any point."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Http
from urllib.request import urlopen
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from dumacle_cli import errors
from dumacle_cli.clients.object_store import ObjectStore
from dumacle_cli.clients.objects import Location
from dumacle_cli.services import direct, direct_ends, direct_links, files, pods, purge, users
from dumacle_cli.services.direct import Announced
from dumacle_cli.services.direct_links import Links
from dumacle_cli.services.transcode_request import TranscodeRequest
from dumacle_cli.store import direct as store
from dumacle_cli.store.database import Database
from dumacle_cli.store.models import File, Plan, Pod, Transcode, Version
from dumacle_cli.store.operations import Request
from tests import buckets, factories
from tests.clients.conftest import moto
from tests.factories import GIB

__all__ = ["moto"]

pytestmark = pytest.mark.integration

MIB = 1024**2
FILM = b"\x00\x00\x00\x20ftypisom" + b"a film" * 999
OTHER = b"\x00\x00\x00\x20ftypisom" + b"b film" * 999
PARTS = bytes(range(256)) * (11 * MIB // 256)


@dataclass(slots=True)
class Site:
    """A pod of 1 GiB with a user, and a store that its files are at."""

    database: Database
    objects: ObjectStore
    pod: str
    owner: str

    def initiate(self, path: str = "a/film.mp4", body: bytes = FILM, operation: str = "", **values: Any) -> Links:
        known = {"size": len(body), "content_type": "video/mp4", "seconds": 600, "max_file_size": GIB}
        announced = Announced(path, self.owner, self.pod, **(known | values))
        request = Request(operation or uuid4().hex, "files.initiate", {})
        return direct.initiate(self.database, self.stores, request, announced, dry_run=False)[0]

    def confirm(self, file_id: int, sha256: bytes | None = None, transcode: Any = None) -> tuple[Any, bool]:
        request = Request(uuid4().hex, "files.confirm", {})
        return direct_ends.confirm(self.database, self.stores, request, file_id, sha256, transcode, dry_run=False)

    def abort(self, file_id: int) -> tuple[Any, bool]:
        request = Request(uuid4().hex, "files.abort", {})
        return direct_ends.abort(self.database, self.stores, request, file_id, dry_run=False)

    def sign(self, file_id: int, *numbers: int, seconds: int = 600) -> Links:
        request = Request(uuid4().hex, "files.sign-parts", {})
        return direct_links.sign_parts(self.database, self.stores, request, file_id, numbers, seconds, dry_run=False)[0]

    def progress(self, file_id: int) -> direct_links.Progress:
        return direct_links.progress(self.database, self.stores, file_id)

    def stores(self, *_: Any) -> ObjectStore:
        return self.objects

    def upload(self, file_id: int) -> store.Upload:
        with self.database.session() as session:
            found = store.latest(session, file_id)
        assert found
        return found

    def show(self, file_id: int) -> files.Detail:
        with self.database.session() as session:
            return files.show(session, file_id)

    def booked(self) -> tuple[int, int]:
        """What the pod has used and reserved, after a check that no counter drifts."""
        with self.database.session() as session:
            assert pods.check(session) == ([], False)
            pod = session.scalars(select(Pod).where(Pod.name == self.pod)).one()
            return pod.used, pod.reserved

    def uploaded_this_month(self) -> int:
        query = "SELECT used FROM app.quota_usage(:user, 'upload', now())"
        with self.database.session() as session:
            return int(session.scalars(text(query), {"user": users.get(session, self.owner).id}).one())

    def expire(self, file_id: int, *, reap: bool = True) -> None:
        with self.database.session() as session:
            lease = self.upload(file_id).lease_id
            session.execute(text("UPDATE app.leases SET until = now() WHERE id = :id"), {"id": lease})
            if reap:
                session.execute(text("SELECT app.reap_leases(now())"))

    def keys(self) -> list[str]:
        return [entry.key for entry in self.objects.list("")]

    def unfinished(self) -> list[str]:
        return buckets.unfinished_uploads(self.objects.location)


def made(database: Database, objects: ObjectStore, **values: Any) -> Site:
    with database.session() as session:
        user, pod = factories.make_user(session), factories.make_pod(session, **values)
        factories.make_grant(session, pod, user)
        factories.make_subscription(session, user, factories.make_plan(session))
        return Site(database, objects, pod.name, user.email)


@pytest.fixture
def site(database: Database, object_store: ObjectStore) -> Site:
    return made(database, object_store)


@pytest.fixture(params=["rclone", "moto"])
def anywhere(request: pytest.FixtureRequest, database: Database) -> Iterator[Site]:
    """The same at each S3 server in turn."""
    if request.param == "rclone":
        yield made(database, request.getfixturevalue("object_store"))
        return
    shared: Location = request.getfixturevalue("moto")
    location = Location("s3", shared.endpoint, shared.region, f"test-{uuid4().hex[:12]}", "moto-key", "moto-secret-key")
    buckets.create(location)
    with ObjectStore(location) as objects:
        yield made(database, objects, primary_provider="s3")


def put(links: Links, body: bytes, url: str | None = None, **headers: str) -> int:
    """Send bytes as a client does; returns the HTTP status."""
    sent = {name: value for name, value in links.headers.items() if name != "Content-Length"} | headers
    try:
        with urlopen(Http(url or links.url or "", data=body, headers=sent, method="PUT"), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refusal:
        with refusal:
            return refusal.code


def sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


# A file that is sent whole


def test_a_file_sent_whole_counts_once_and_is_proven(anywhere: Site) -> None:
    links = anywhere.initiate(sha256=sha256(FILM))
    assert (links.method, links.part_count, links.parts) == ("PUT", 1, [])
    assert anywhere.booked() == (0, len(FILM))
    assert anywhere.show(links.id).status == "uploading"
    assert anywhere.progress(links.id).progress == 0
    assert put(links, FILM) == 200
    assert anywhere.progress(links.id).progress == 100
    first, changed = anywhere.confirm(links.id)
    assert (first.sha256, first.size, changed) == (sha256(FILM).hex(), len(FILM), True)
    assert (anywhere.booked(), anywhere.uploaded_this_month()) == ((len(FILM), 0), len(FILM))
    assert anywhere.confirm(links.id, sha256(FILM)) == (first, False)
    assert (anywhere.booked(), anywhere.uploaded_this_month()) == ((len(FILM), 0), len(FILM))
    found = anywhere.show(links.id)
    assert (found.status, found.progress, found.sha256, found.key) == ("uploaded", 100, first.sha256, first.key)
    assert anywhere.objects.head(first.key).content_type == "video/mp4"
    assert anywhere.progress(links.id).progress == 100


def test_a_link_is_dead_once_its_upload_is_confirmed(anywhere: Site) -> None:
    links = anywhere.initiate()
    put(links, FILM)
    confirmed, _ = anywhere.confirm(links.id)
    assert put(links, OTHER) >= 400
    assert b"".join(anywhere.objects.get(confirmed.key)) == FILM


def test_an_empty_file(anywhere: Site) -> None:
    links = anywhere.initiate(body=b"")
    assert put(links, b"") == 200
    assert anywhere.confirm(links.id)[0].sha256 == sha256(b"").hex()
    assert anywhere.booked() == (0, 0)


@pytest.mark.parametrize("told", ["at the start", "at the end"])
def test_wrong_bytes_are_refused_removed_and_released(anywhere: Site, told: str) -> None:
    links = anywhere.initiate(sha256=sha256(FILM) if told == "at the start" else None)
    put(links, OTHER)
    with pytest.raises(errors.UploadDiffers, match="other bytes than announced") as refused:
        anywhere.confirm(links.id, None if told == "at the start" else sha256(FILM))
    assert refused.value.exit == 12
    assert (anywhere.booked(), anywhere.uploaded_this_month()) == ((0, 0), 0)
    assert (anywhere.keys(), anywhere.unfinished()) == ([], [])
    assert anywhere.show(links.id).status == "failed"
    with pytest.raises(errors.Conflict, match="ended"):
        anywhere.confirm(links.id)
    again = anywhere.initiate(sha256=sha256(FILM))
    put(again, FILM)
    assert anywhere.confirm(again.id)[1]


def test_a_wrong_length_is_refused_by_the_store_or_by_confirm(anywhere: Site) -> None:
    links = anywhere.initiate()
    enforced = anywhere.objects.location.provider == "local"
    assert put(links, FILM[:-1]) == (403 if enforced else 200)
    with pytest.raises(errors.Conflict if enforced else errors.UploadDiffers):
        anywhere.confirm(links.id)
    assert anywhere.booked() == (0, len(FILM) if enforced else 0)


def test_an_md5_is_enforced_by_the_store(site: Site) -> None:
    known = {"md5": hashlib.md5(FILM).digest()}
    refused = [
        put(site.initiate("other", **known), OTHER),
        put(site.initiate("none", **known), FILM, **{"Content-MD5": ""}),
    ]
    assert refused == [400, 403]
    links = site.initiate(**known)
    assert put(links, FILM) == 200
    assert site.confirm(links.id)[1]


def test_an_md5_is_checked_where_no_store_enforces_it(anywhere: Site) -> None:
    links = anywhere.initiate(md5=hashlib.md5(OTHER).digest())
    if put(links, FILM) == 200:
        with pytest.raises(errors.UploadDiffers, match="MD5"):
            anywhere.confirm(links.id)
        assert anywhere.booked() == (0, 0)


def test_two_hashes_that_differ_end_nothing(site: Site) -> None:
    links = site.initiate(sha256=sha256(FILM))
    put(links, FILM)
    with pytest.raises(errors.Conflict, match="announced with"):
        site.confirm(links.id, sha256(OTHER))
    assert site.confirm(links.id)[1]
    with pytest.raises(errors.ContentDiffers):
        site.confirm(links.id, sha256(OTHER))
    assert site.show(links.id).status == "uploaded"


def test_nothing_sent_yet_ends_nothing(site: Site) -> None:
    links = site.initiate()
    with pytest.raises(errors.Conflict, match="0 of 1 parts"):
        site.confirm(links.id)
    put(links, FILM)
    assert site.confirm(links.id)[1]


def test_new_content_replaces_the_old_only_when_it_is_confirmed(site: Site) -> None:
    first = site.initiate()
    put(first, FILM)
    site.confirm(first.id)
    second = site.initiate(body=OTHER + b"!")
    put(second, OTHER + b"!")
    assert second.id == first.id
    before = site.show(first.id)
    assert (before.size, before.sha256) == (len(FILM), sha256(FILM).hex())
    site.confirm(second.id)
    after = site.show(first.id)
    assert [version.status for version in after.versions] == ["stored", "superseded"]
    assert (after.size, after.sha256) == (len(OTHER) + 1, sha256(OTHER + b"!").hex())
    assert site.booked() == (len(FILM) + len(OTHER) + 1, 0)


def test_wrong_bytes_leave_the_old_content(site: Site) -> None:
    first = site.initiate()
    put(first, FILM)
    confirmed, _ = site.confirm(first.id)
    second = site.initiate(sha256=sha256(FILM))
    put(second, OTHER)
    with pytest.raises(errors.UploadDiffers):
        site.confirm(second.id)
    assert (site.show(first.id).key, site.show(first.id).status) == (confirmed.key, "uploaded")
    assert site.keys() == [confirmed.key]


def test_a_video_is_transcoded_and_nothing_else_is(site: Site) -> None:
    for kind, transcodes in (("image/png", 0), ("video/mp4", 1)):
        links = site.initiate(kind, content_type=kind)
        put(links, FILM)
        site.confirm(links.id, transcode=TranscodeRequest("hls", ("video/",)))
        with site.database.session() as session:
            assert len(session.scalars(select(Transcode)).all()) == transcodes


# Parts


def test_a_file_in_parts(anywhere: Site) -> None:
    links = anywhere.initiate(body=PARTS, part_size=5 * MIB, sha256=sha256(PARTS))
    assert [(part.number, part.size) for part in links.parts] == [(1, 5 * MIB), (2, 5 * MIB), (3, MIB)]
    assert (links.url, links.part_count) == (None, 3)
    pieces = {number: PARTS[(number - 1) * 5 * MIB :][: 5 * MIB] for number in (1, 2, 3)}
    assert put(links, pieces[3], links.parts[2].url) == 200
    assert put(links, pieces[1], links.parts[0].url) == 200
    seen = anywhere.progress(links.id)
    assert (seen.progress, seen.parts_stored, seen.stored) == (54, 2, 6 * MIB)
    with pytest.raises(errors.Conflict, match=r"2 of 3 parts .+ part 2 is missing"):
        anywhere.confirm(links.id)
    again = anywhere.sign(links.id)
    assert [part.number for part in again.parts] == [2]
    assert anywhere.show(links.id).progress == 54
    assert put(again, pieces[2], again.parts[0].url) == 200
    assert anywhere.confirm(links.id)[0].sha256 == sha256(PARTS).hex()
    assert (anywhere.booked(), anywhere.uploaded_this_month()) == ((len(PARTS), 0), len(PARTS))
    assert b"".join(anywhere.objects.get(anywhere.show(links.id).key or "")) == PARTS


def test_parts_of_wrong_bytes_are_refused(anywhere: Site) -> None:
    links = anywhere.initiate(body=PARTS, part_size=5 * MIB, sha256=sha256(PARTS))
    for part in links.parts:
        put(links, bytes(part.size), part.url)
    with pytest.raises(errors.UploadDiffers):
        anywhere.confirm(links.id)
    assert (anywhere.booked(), anywhere.keys(), anywhere.unfinished()) == ((0, 0), [], [])


def test_only_parts_that_there_are_are_signed(site: Site) -> None:
    links = site.initiate(body=PARTS, part_size=5 * MIB)
    assert [part.number for part in site.sign(links.id, 3, 1).parts] == [3, 1]
    for number in (0, 4):
        with pytest.raises(errors.InvalidValue, match="parts 1 to 3"):
            site.sign(links.id, number)


def test_links_are_made_a_hundred_at_a_time(site: Site) -> None:
    links = site.initiate(size=GIB - 1, part_size=5 * MIB)
    assert (len(links.parts), links.part_count) == (100, 205)


def test_sizes_of_parts() -> None:
    assert direct.part_size(1, None) == 16 * MIB
    assert -(-(5 * 1024 * GIB) // direct.part_size(5 * 1024 * GIB, None)) <= 10_000
    for size, wanted in ((1, 5 * MIB - 1), (1, 5 * GIB + 1), (5 * MIB * 10_000 + 1, 5 * MIB)):
        with pytest.raises(errors.InvalidValue):
            direct.part_size(size, wanted)


# Limits and reservations


def test_limits_are_enforced_before_any_link_is_made(site: Site) -> None:
    with pytest.raises(errors.FileTooLarge) as refused:
        site.initiate(size=GIB + 1)
    assert refused.value.exit == 8
    with pytest.raises(errors.PodFull):
        site.initiate(size=GIB + 1, max_file_size=2 * GIB)
    with site.database.session() as session:
        session.scalars(select(Plan)).one().upload_limit = len(FILM)
    with pytest.raises(errors.QuotaExceeded):
        site.initiate(size=len(FILM) + 1)
    assert site.booked() == (0, 0)
    with site.database.session() as session:
        assert session.scalars(select(File)).all() == []


def test_what_is_reserved_cannot_be_reserved_again(site: Site) -> None:
    first = site.initiate("one", size=GIB - 10)
    with pytest.raises(errors.PodFull):
        site.initiate("two", size=11)
    site.abort(first.id)
    assert site.initiate("two", size=GIB).id


def test_a_reservation_that_ran_out_holds_nothing(site: Site) -> None:
    first = site.initiate("one", size=GIB)
    site.expire(first.id, reap=False)
    assert site.initiate("two", size=GIB).id
    assert site.booked() == (0, GIB)
    with pytest.raises(errors.Conflict, match="ran out"):
        site.sign(first.id)


def test_confirming_after_the_reservation_ran_out_needs_room(site: Site) -> None:
    first = site.initiate("one")
    put(first, FILM)
    site.expire(first.id)
    second = site.initiate("two", size=GIB)
    with pytest.raises(errors.PodFull):
        site.confirm(first.id)
    assert site.show(first.id).status != "uploaded"
    site.abort(second.id)
    assert site.confirm(first.id)[1]
    assert (site.booked(), site.uploaded_this_month()) == ((len(FILM), 0), len(FILM))


def test_new_links_keep_the_reservation(site: Site) -> None:
    links = site.initiate(seconds=1)
    before = site.upload(links.id).reserved_until
    again = site.sign(links.id, 1, seconds=3600)
    after = site.upload(links.id).reserved_until
    assert before
    assert after
    assert (after - before).total_seconds() > 3000
    assert abs((after - again.expires_at).total_seconds()) < 5
    site.sign(links.id, 1, seconds=1)
    assert site.upload(links.id).reserved_until == after


@pytest.mark.parametrize("seconds", [0, 86_401])
def test_links_live_no_longer_than_a_reservation_can(site: Site, seconds: int) -> None:
    with pytest.raises(errors.InvalidValue, match="--expires"):
        site.initiate(seconds=seconds)


def test_room_is_reserved_only_in_a_pod_that_is_granted_and_there(site: Site) -> None:
    with site.database.session() as session:
        pod, user = pods.get(session, site.pod).id, users.get(session, site.owner).id
        pods.revoke(session, site.pod, site.owner)
    with pytest.raises(errors.NotGranted):
        site.initiate()
    with pytest.raises(errors.Conflict, match="taken from its user"), site.database.session() as session:
        store.reserve(session, pod, user, 1, 60)
    with site.database.session() as session:
        pods.grant(session, site.pod, site.owner)
        pods.delete(session, site.pod)
    with pytest.raises(errors.Conflict, match="deleted meanwhile"), site.database.session() as session:
        store.reserve(session, pod, user, 1, 60)


# Repeats, kills and races


def test_a_repeat_returns_links_to_the_same_upload(site: Site) -> None:
    first, second = site.initiate(operation="one"), site.initiate(operation="one")
    assert (first.id, site.booked()) == (second.id, (0, len(FILM)))
    assert len(site.unfinished()) == 1
    put(second, FILM)
    site.confirm(first.id)
    with pytest.raises(errors.Conflict, match="uploaded already"):
        site.initiate(operation="one")


def test_a_repeat_makes_no_links_once_the_reservation_ran_out(site: Site) -> None:
    links = site.initiate(operation="one")
    site.expire(links.id, reap=False)
    with pytest.raises(errors.Conflict, match="ran out"):
        site.initiate(operation="one")
    assert put(site.sign(links.id), FILM) == 200


def test_no_new_links_are_made_for_who_may_no_longer_upload(site: Site) -> None:
    links = site.initiate()
    until = site.upload(links.id).reserved_until
    for refuse, allow, error in (
        (
            lambda s: pods.revoke(s, site.pod, site.owner),
            lambda s: pods.grant(s, site.pod, site.owner),
            errors.NotGranted,
        ),
        (lambda s: users.disable(s, site.owner), lambda s: users.enable(s, site.owner), errors.UserDisabled),
        (lambda s: pods.delete(s, site.pod), lambda s: pods.restore(s, site.pod), errors.NotFound),
    ):
        with site.database.session() as session:
            refuse(session)
        with pytest.raises(error):
            site.sign(links.id, seconds=3600)
        with site.database.session() as session:
            allow(session)
    assert site.upload(links.id).reserved_until == until
    assert site.sign(links.id).url


def test_a_path_takes_one_upload_at_a_time(site: Site) -> None:
    first = site.initiate()
    with pytest.raises(errors.Conflict, match="another direct upload"):
        site.initiate()
    site.expire(first.id)
    assert site.initiate().id == first.id
    assert site.booked() == (0, len(FILM))


def test_an_upload_without_links_is_in_nobodys_way(site: Site) -> None:
    class Away(ObjectStore):
        def create_multipart(self, key: str, content_type: str) -> str:
            raise errors.StoreUnavailable(provider="local", endpoint="there", reason="it is down")

    there, site.objects = site.objects, Away(site.objects.location)
    with pytest.raises(errors.StoreUnavailable):
        site.initiate(size=GIB, operation="one")
    site.objects = there
    with site.database.session() as session:
        file_id = session.scalars(select(File.id)).one()
    with pytest.raises(errors.Conflict, match="broken off"):
        site.confirm(file_id)
    assert site.initiate(size=GIB, operation="one").id == file_id
    site.abort(file_id)
    site.objects = Away(there.location)
    with pytest.raises(errors.StoreUnavailable):
        site.initiate(size=GIB)
    site.objects = there
    assert site.initiate(size=GIB).id == file_id
    assert site.booked() == (0, GIB)


def test_abort_releases_and_removes(anywhere: Site) -> None:
    links = anywhere.initiate()
    put(links, FILM)
    aborted, changed = anywhere.abort(links.id)
    assert (aborted.released, changed) == (len(FILM), True)
    assert (anywhere.booked(), anywhere.unfinished(), anywhere.keys()) == ((0, 0), [], [])
    assert anywhere.show(links.id).status == "cancelled"
    assert put(links, FILM) >= 400
    again, changed = anywhere.abort(links.id)
    assert (again.released, changed) == (0, False)
    with pytest.raises(errors.Conflict, match="aborted"):
        anywhere.confirm(links.id)


def test_what_is_confirmed_is_not_aborted(site: Site) -> None:
    links = site.initiate()
    put(links, FILM)
    confirmed, _ = site.confirm(links.id)
    with pytest.raises(errors.Conflict, match="uploaded already"):
        site.abort(links.id)
    assert site.keys() == [confirmed.key]


def test_a_confirm_whose_answer_was_lost_is_repeated(site: Site) -> None:
    links = site.initiate()
    put(links, FILM)
    upload = site.upload(links.id)
    with site.database.session() as session:
        store.complete(session, upload)
    parts = list(site.objects.list_parts(upload.key, upload.upload_id or ""))
    site.objects.complete_multipart(upload.key, upload.upload_id or "", parts)
    assert site.progress(links.id).progress == 100
    assert site.confirm(links.id)[1]
    assert site.booked() == (len(FILM), 0)


def test_an_upload_that_the_store_lost_is_told(site: Site) -> None:
    links = site.initiate()
    upload = site.upload(links.id)
    site.objects.abort_multipart(upload.key, upload.upload_id or "")
    with pytest.raises(errors.Conflict, match="no longer has the upload"):
        site.confirm(links.id)
    site.abort(links.id)
    assert site.booked() == (0, 0)


def test_parts_that_are_replaced_while_they_are_confirmed_are_told(site: Site) -> None:
    class Replaced(ObjectStore):
        def complete_multipart(self, key: str, *_: object) -> str:
            raise errors.UploadLost(key=key, provider="local")

    links, right = site.initiate(), site.objects
    put(links, FILM)
    site.objects = Replaced(right.location)
    with pytest.raises(errors.Conflict, match="again while") as told:
        site.confirm(links.id)
    assert told.value.remedy.endswith(f"dumacle files confirm {links.id}")
    site.objects = right
    assert site.confirm(links.id)[1]


def test_wrong_bytes_are_told_even_if_they_cannot_be_removed_now(site: Site) -> None:
    class Stubborn(ObjectStore):
        def delete(self, keys: object) -> None:
            raise errors.StoreUnavailable(provider="local", endpoint="here", reason="busy")

    links = site.initiate(sha256=sha256(OTHER))
    put(links, FILM)
    right, site.objects = site.objects, Stubborn(site.objects.location)
    with pytest.raises(errors.UploadDiffers):
        site.confirm(links.id)
    assert len(site.keys()) == 1
    purge.remove_failed(site.database, lambda _: right)
    assert (site.booked(), site.keys()) == ((0, 0), [])


def test_a_deleted_file_is_not_confirmed(site: Site) -> None:
    links = site.initiate()
    put(links, FILM)
    with site.database.session() as session:
        files.delete(session, files.choose(session, str(links.id)))
    with pytest.raises(errors.Conflict):
        site.confirm(links.id)
    site.abort(links.id)
    assert site.booked() == (0, 0)


def test_a_file_of_a_run_is_no_direct_upload(site: Site) -> None:
    with site.database.session() as session:
        pod, user = session.scalars(select(Pod)).one(), users.get(session, site.owner)
        file_id = factories.make_file(session, pod, user).id
    for attempt in (site.confirm, site.abort, site.progress):
        with pytest.raises(errors.NotFound, match="direct upload"):
            attempt(file_id)


def ended(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
        return "done"
    except errors.DumacleError as error:
        return error.code


@pytest.mark.parametrize("other", ["confirm", "abort", "wrong"])
def test_at_once(site: Site, other: str) -> None:
    links = site.initiate()
    put(links, FILM)
    attempts: dict[str, Callable[[], Any]] = {
        "confirm": lambda: site.confirm(links.id),
        "abort": lambda: site.abort(links.id),
        "wrong": lambda: site.confirm(links.id, sha256(OTHER)),
    }
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(ended, [attempts["confirm"], attempts[other]]))
    stored = site.show(links.id).status == "uploaded"
    assert stored or other != "confirm"
    assert site.booked() == (len(FILM) if stored else 0, 0)
    assert len(site.keys()) == (1 if stored else 0), ends
    assert site.uploaded_this_month() == (len(FILM) if stored else 0)
    with site.database.session() as session:
        assert len(session.scalars(select(Version)).all()) == 1


# What was typed


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a/../b", "./a", "a/", "x" * 2049])
def test_a_path_that_no_folder_could_hold_is_refused(path: str) -> None:
    with pytest.raises(errors.InvalidValue):
        direct.checked_path(path)


def test_a_path_is_escaped_as_uploads_do() -> None:
    assert direct.checked_path("a/b\x07.mp4") == "a/b\\x07.mp4"
    assert direct.checked_path("a/b\\x07.mp4") == "a/b\\x07.mp4"


@pytest.mark.parametrize("kind", ["", "video", "video/", "video/mp4; x=1", "a b/c", "a/b\r\nx: y", "v" * 256 + "/x"])
def test_what_is_no_media_type_is_refused(kind: str) -> None:
    with pytest.raises(errors.InvalidValue):
        direct.checked_type(kind)
    assert direct.checked_type("Video/MP4") == "video/mp4"


@pytest.mark.parametrize("digits", ["abc", "g" * 64, "0" * 63, "0" * 65])
def test_what_is_no_hash_is_refused(digits: str) -> None:
    with pytest.raises(errors.InvalidValue):
        direct.checked_hash(digits, "--sha256", 32)
    assert direct.checked_hash("", "--sha256", 32) is None
    assert direct.checked_hash("0A" * 32, "--sha256", 32) == b"\x0a" * 32
