"""Queries for listings and reports of runs; a process that uploads does not load them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select
from sqlalchemy.orm import Session

from dumacle_cli.store import paging
from dumacle_cli.store.files import one_of
from dumacle_cli.store.models import File, Pod, Run, User


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters of a listing; a run must match all of them."""

    status: str | None = None
    owner_id: int | None = None
    pod_id: int | None = None


def _listed() -> Select[Any]:
    owner = select(User.email).where(User.id == Run.owner_id).scalar_subquery().label("owner")
    pod = select(Pod.name).where(Pod.id == Run.pod_id).scalar_subquery().label("pod")
    return select(Run, owner, pod).where(Run.joined_id.is_(None)).execution_options(populate_existing=True)


def page(
    session: Session, chosen: RunFilter, *, descending: bool, after: str | None, limit: int
) -> paging.Page[Row[Any]]:
    """Return a page of runs by id, which is the order in which they began."""
    filters = {Run.status: chosen.status, Run.owner_id: chosen.owner_id, Run.pod_id: chosen.pod_id}
    query = _listed().where(*(column == value for column, value in filters.items() if value is not None))
    found = session.execute(paging.keyset(query, [Run.id], after, limit, descending=descending)).all()
    return paging.page(found, limit, lambda row: [row.Run.id])


def find(session: Session, run: int) -> Row[Any] | None:
    """Return a run, or None."""
    return session.execute(_listed().where(Run.id == run)).one_or_none()


def parts(session: Session, ids: Sequence[int]) -> Sequence[Run]:
    """Return the rows of all processes of these runs."""
    query = select(Run).where(or_(one_of(Run.id, ids), one_of(Run.joined_id, ids))).order_by(Run.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _unfinished(ids: Sequence[int]) -> list[ColumnElement[bool]]:
    return [one_of(File.run_id, ids), File.upload_status.not_in(("uploaded", "verified")), File.deleted_at.is_(None)]


def count_under_way(session: Session, ids: Sequence[int]) -> int:
    """Count the files that these processes are uploading, or were when they were killed."""
    under_way = File.upload_status.in_(("planned", "uploading", "completing"))
    return session.scalars(select(func.count()).where(*_unfinished(ids), under_way)).one()


def missing(
    session: Session, ids: Sequence[int], status: str | None, *, after: str | None, limit: int
) -> paging.Page[File]:
    """Return a page of the files of these processes that are not uploaded."""
    query = select(File).where(*_unfinished(ids))
    if status:
        query = query.where(File.upload_status == status)
    found = session.scalars(paging.keyset(query, [File.id], after, limit)).all()
    return paging.page(found, limit, lambda file: [file.id])
