"""The users, pod and plans of the demo: created once, unchanged after that, with room for the files."""

import pytest
from sqlalchemy.orm import Session

from dumacle_cli.demo import result, setup
from dumacle_cli.services import account_status, plans, pods, users
from tests.factories import make_user

pytestmark = pytest.mark.integration
MIB = 1024**2


@pytest.fixture
def database_session(session: Session) -> Session:
    """A database that has a superadmin of another name already."""
    make_user(session, "boss@example.com", role="superadmin")
    return session


def make(session: Session, size: int, largest: int = 0) -> list[str]:
    """Create all parts; returns which changed."""
    return [name for name, part in setup.parts("media", size, largest).items() if part(session)[1]]


def test_made_once(database_session: Session) -> None:
    assert make(database_session, 10 * MIB) == ["operator", "pod", "plans", "user"]
    assert make(database_session, 10 * MIB) == []
    ada = account_status.show(database_session, result.USER)
    assert (ada.role, ada.plan, ada.can_upload) == ("enduser", "demo-small", True)
    assert [pod.name for pod in ada.pods] == ["demo"]
    operator = users.get(database_session, result.OPERATOR)
    assert (operator.name, operator.role) == ("Olga Operator", "admin")


@pytest.mark.parametrize(
    ("size", "capacity"), [(0, 256), (MIB, 256), (128 * MIB, 256), (128 * MIB + 1, 512), (300 * MIB, 1024)]
)
def test_files_take_at_most_half_of_the_pod(database_session: Session, size: int, capacity: int) -> None:
    make(database_session, size)
    assert pods.get(database_session, result.POD).capacity == capacity * MIB
    plan = plans.get(database_session, result.PLAN)
    assert (plan.storage_limit, plan.upload_limit) == (capacity * MIB, 4 * capacity * MIB)


@pytest.mark.parametrize(("size", "largest", "little"), [(27, 20, 19), (30, 3, 27), (5, 5, 4), (3, 1, 2), (0, 0, 0)])
def test_first_plan_is_too_small_for_the_largest_file(
    database_session: Session, size: int, largest: int, little: int
) -> None:
    make(database_session, size, largest)
    assert plans.get(database_session, result.SMALL_PLAN).storage_limit == little


def test_room_is_made_where_it_lacks(database_session: Session) -> None:
    make(database_session, MIB)
    assert make(database_session, 256 * MIB) == ["plans"]
    assert plans.get(database_session, result.PLAN).storage_limit == 256 * MIB
    assert make(database_session, 256 * MIB + 1) == ["pod", "plans"]
    assert pods.get(database_session, result.POD).capacity == 1024 * MIB


def test_what_somebody_changed_stays(database_session: Session) -> None:
    make(database_session, MIB)
    pods.update(database_session, result.POD, capacity=300 * MIB)
    plans.update(database_session, result.PLAN, {"storage_limit": None, "upload_limit": 2**50}, None, None)
    users.update(database_session, result.USER, name="Ida", role="admin")
    assert make(database_session, MIB) == []
    assert pods.get(database_session, result.POD).capacity == 300 * MIB
    assert users.get(database_session, result.USER).name == "Ida"


def test_revoked_grant_is_given_again(database_session: Session) -> None:
    make(database_session, MIB)
    pods.revoke(database_session, result.POD, result.USER)
    assert make(database_session, MIB) == ["grant"]
