"""The account at Stripe: a key of another account or mode is refused before anything is done with it.

Everything mirrored belongs to one account in one mode, test or live. A key that may not read its own account is known
by what the account has: prices, which cannot be deleted at Stripe, subscriptions and customers.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from dumacle_cli.errors import DatabaseForbidden, NotApplied, OtherAccount
from dumacle_cli.services.billing import BillingContext
from dumacle_cli.services.billing.findings import ACCOUNT, Found
from dumacle_cli.store import accounts as store
from dumacle_cli.store import findings
from dumacle_cli.store.accounts import Account
from dumacle_cli.store.stripe import Claim

Place = Literal["here", "left account", "other mode"]
MODES = {True: "live mode", False: "test mode", None: "an unknown mode"}


@dataclass(frozen=True, slots=True)
class Switched:
    """The account that was left, and how many of its subscriptions ended here."""

    left: str
    ended: int


def require(context: BillingContext, *, dry_run: bool = False) -> None:
    """Refuse a key of another account or mode than plans are sold at; the first key decides. Raises OtherAccount."""
    with context.database.session(read_only=True) as session:
        known = store.current(session)
    _require(context, known, dry_run=dry_run)


def _require(context: BillingContext, known: Account | None, *, dry_run: bool = False) -> None:
    if known and known.id in context.confirmed and known.livemode is context.stripe.livemode:
        return
    try:
        _compare(context, known)
    except OtherAccount as other:
        _note(context, [Found("other-account", str(other), other.remedy)], dry_run=dry_run)
        raise
    if not dry_run:
        _bind(context)


def _bind(context: BillingContext) -> None:
    """Save the account and the mode of the key; an admin may not, and leaves it to a superadmin, worker or cron."""
    account, livemode = context.stripe.account, context.stripe.livemode
    with suppress(DatabaseForbidden), context.database.session() as session:
        store.bind(session, account, livemode)
        findings.settle(session, "other-account", [ACCOUNT])
        bound = store.current(session)
        context.confirmed.update({bound.id} if bound else ())


def _note(context: BillingContext, found: list[Found], *, dry_run: bool) -> None:
    if not dry_run:
        with context.database.session() as session:
            findings.add(session, ACCOUNT, found)


def switch(context: BillingContext, *, anyway: bool, dry_run: bool) -> Switched | None:
    """Sell at the account of the key from now on: from test to live mode, or `anyway`; None if plans are sold there.

    Subscriptions of the account that is left end here, and are not touched at Stripe. Raises OtherAccount.
    """
    with context.database.session(read_only=True) as session:
        known = store.current(session)
    try:
        _require(context, known, dry_run=True)
    except OtherAccount:
        goes_live = known and known.livemode is False and context.stripe.livemode
        if not known or not (goes_live or anyway):
            _require(context, known, dry_run=dry_run)  # notes the finding
            raise
        return _switch(context, known, dry_run=dry_run)
    _require(context, known, dry_run=dry_run)
    return None


def _switch(context: BillingContext, known: Account, *, dry_run: bool) -> Switched:
    account, livemode = context.stripe.account, context.stripe.livemode
    with context.database.rehearsal() if dry_run else context.database.session() as session:
        ended = store.switch(session, known, account, livemode)
    return Switched(_name(known.account, known.livemode), ended)


def place(context: BillingContext, claim: Claim) -> Place:
    """Return whether a claimed object is of the account that plans are sold at, of one that was left, or of a mode.

    Raises OtherAccount if the key is, or NotApplied if the object is not of the key's mode and nothing else is known.
    """
    with context.database.session(read_only=True) as session:
        known, account = store.current(session), store.of_object(session, claim.id)
    has_other_mode = claim.livemode not in (None, context.stripe.livemode)
    if has_other_mode and (known is None or known.livemode is None):
        modes = ("test", "live")
        key = context.stripe.livemode
        raise NotApplied(reason=f"it is a {modes[not key]}-mode object, and the key is a {modes[key]}-mode key")
    _require(context, known)
    if has_other_mode:
        return "other mode"
    return "here" if known is None or account in (None, known.id) else "left account"


def take_over(session: Session, claim: Claim) -> None:
    """Save that an object of an account that was left is of the present one, to which Stripe can copy customers."""
    store.own(session, claim.id)


def _compare(context: BillingContext, known: Account | None) -> None:
    """Compare a key with the account that plans are sold at, by asking Stripe where its mode is right."""
    if known is None:
        return
    stripe = context.stripe
    if known.livemode not in (None, stripe.livemode):
        raise _other(known, None, stripe.livemode)
    if known.account and stripe.account:
        if known.account != stripe.account:
            raise _other(known, stripe.account, stripe.livemode)
    elif not _has_witness(context):
        raise _other(known, stripe.account, stripe.livemode)


def _has_witness(context: BillingContext) -> bool:
    """Return whether Stripe knows something that is mirrored, or nothing is."""
    with context.database.session(read_only=True) as session:
        witnesses = store.witnesses(session)
    return not witnesses or any(context.stripe.fetch(kind, id_) for kind, id_ in witnesses)


def _other(known: Account, account: str | None, livemode: bool) -> OtherAccount:
    return OtherAccount(key=_name(account, livemode), known=_name(known.account, known.livemode))


def _name(account: str | None, livemode: bool | None) -> str:
    return f"{account or 'an account'} in {MODES[livemode]}"
