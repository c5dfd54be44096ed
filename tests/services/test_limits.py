"""Which files a pod and a plan accept, by media type and size, before a byte moves."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dumacle_cli import errors
from dumacle_cli.services import limits, plans, pods
from dumacle_cli.store.models import Pod, User
from tests import factories

pytestmark = pytest.mark.integration

VIDEO, PICTURE = "video/mp4", "image/png"


def refused(session: Session, size: int, kind: str) -> str | None:
    """Return who refuses a file of the last user in the only pod, and with which fix; None if nobody does."""
    [pod], user = session.scalars(select(Pod.id)), session.scalars(select(func.max(User.id))).one()
    try:
        limits.require(session, pod, user, "a.bin", size, kind)
    except (errors.FileTooLarge, errors.TypeNotAllowed) as error:
        return f"{error.exit}: {error.code}: {error.facts['source']}: {error.remedy}"
    return None


def site(session: Session, pod: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    user = factories.make_user(session)
    factories.make_pod(session, "films", **pod)
    factories.make_subscription(session, user, factories.make_plan(session, "pro", **plan))


def test_no_limit_accepts_everything(session: Session) -> None:
    site(session, {}, {})
    assert refused(session, 2**60, "application/x-anything") is None


def test_pod_and_plan_must_both_accept(session: Session) -> None:
    pod = {"allowed_types": ["video/*", PICTURE], "max_file_size": 20}
    site(session, pod, {"allowed_types": [VIDEO], "max_file_size": 10})
    assert refused(session, 10, VIDEO) is None
    films, pro = ("dumacle pods update films --{}", "dumacle plans update pro --{}")
    to_change, types, size = "to change that: ", "allow-types LIST", "max-file-size SIZE"
    assert refused(session, 1, "text/html") == f"8: type-not-allowed: pod films: {to_change}{films.format(types)}"
    assert refused(session, 1, "videos/mp4") == f"8: type-not-allowed: pod films: {to_change}{films.format(types)}"
    assert refused(session, 1, PICTURE) == f"8: type-not-allowed: plan pro: {to_change}{pro.format(types)}"
    assert refused(session, 21, VIDEO) == f"8: file-too-large: pod films: {to_change}{films.format(size)}"
    assert refused(session, 11, VIDEO) == f"8: file-too-large: plan pro: {to_change}{pro.format(size)}"


def test_a_user_without_a_plan_has_the_limits_of_the_pod(session: Session) -> None:
    factories.make_user(session)
    factories.make_pod(session, "films", max_file_size=5)
    assert refused(session, 5, VIDEO) is None
    assert refused(session, 6, VIDEO)


def test_limits_are_set_shown_and_taken_away(session: Session) -> None:
    accepted = limits.columns("Video/*, image/png,video/*", "2GiB")
    assert accepted == {"allowed_types": ["video/*", PICTURE], "max_file_size": 2 * 1024**3}
    pods.create(session, "films", capacity=1, provider="local", bucket="b", accepted=accepted)
    pods.create(session, "photos", capacity=1, provider="local", bucket="b")
    factories.make_plan(session, "pro")
    assert pods.show(session, "films").allowed_types == ["video/*", PICTURE]
    for update in (pods.update, lambda session, name, accepted: plans.update(session, "pro", accepted, None, None)):
        assert update(session, "photos", accepted=accepted)[1]  # type: ignore[operator]
        assert not update(session, "photos", accepted=accepted)[1]  # type: ignore[operator]
    assert pods.show(session, "photos").max_file_size == plans.show(session, "pro").max_file_size == 2 * 1024**3
    assert plans.show(session, "pro").allowed_types == ["video/*", PICTURE]
    pods.update(session, "films", accepted=limits.columns("any", "unlimited"))
    shown = pods.show(session, "films")
    assert (shown.allowed_types, shown.max_file_size) == (None, None)


@pytest.mark.parametrize("types", ["", "video", "video/*,", "*", "*/*", "video/m*", "a b/c", "x/y\nz"])
def test_what_is_no_list_of_types_is_refused(types: str) -> None:
    with pytest.raises(errors.InvalidValue, match="--allow-types"):
        limits.columns(types, None)
