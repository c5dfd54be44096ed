"""The tables, one module per noun, each imported when one of its classes is first used: mapping all costs 60 ms."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dumacle_cli.store.models.accounts import BillingAccount as BillingAccount
    from dumacle_cli.store.models.base import SCHEMA as SCHEMA
    from dumacle_cli.store.models.base import Base as Base
    from dumacle_cli.store.models.copies import Copy as Copy
    from dumacle_cli.store.models.copies import Outage as Outage
    from dumacle_cli.store.models.copies import RenditionCopy as RenditionCopy
    from dumacle_cli.store.models.files import File as File
    from dumacle_cli.store.models.files import Version as Version
    from dumacle_cli.store.models.findings import Finding as Finding
    from dumacle_cli.store.models.operations import Acting as Acting
    from dumacle_cli.store.models.operations import Audit as Audit
    from dumacle_cli.store.models.operations import Operation as Operation
    from dumacle_cli.store.models.parts import Part as Part
    from dumacle_cli.store.models.plans import Customer as Customer
    from dumacle_cli.store.models.plans import Plan as Plan
    from dumacle_cli.store.models.plans import PlanPrice as PlanPrice
    from dumacle_cli.store.models.plans import Subscription as Subscription
    from dumacle_cli.store.models.pods import (
        Credential as Credential,
    )
    from dumacle_cli.store.models.pods import (
        Pod as Pod,
    )
    from dumacle_cli.store.models.pods import (
        PodGrant as PodGrant,
    )
    from dumacle_cli.store.models.pods import (
        Probe as Probe,
    )
    from dumacle_cli.store.models.pods import (
        ProviderDefault as ProviderDefault,
    )
    from dumacle_cli.store.models.quotas import (
        Entitlement as Entitlement,
    )
    from dumacle_cli.store.models.quotas import (
        OwnLimit as OwnLimit,
    )
    from dumacle_cli.store.models.quotas import (
        PlanLimit as PlanLimit,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaAnchor as QuotaAnchor,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaClosing as QuotaClosing,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaCounter as QuotaCounter,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaEntry as QuotaEntry,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaGrant as QuotaGrant,
    )
    from dumacle_cli.store.models.quotas import (
        QuotaLimit as QuotaLimit,
    )
    from dumacle_cli.store.models.runs import Lease as Lease
    from dumacle_cli.store.models.runs import Run as Run
    from dumacle_cli.store.models.transcodes import HookCall as HookCall
    from dumacle_cli.store.models.transcodes import Pause as Pause
    from dumacle_cli.store.models.transcodes import Preset as Preset
    from dumacle_cli.store.models.transcodes import Rendition as Rendition
    from dumacle_cli.store.models.transcodes import Transcode as Transcode
    from dumacle_cli.store.models.transcodes import Unit as Unit
    from dumacle_cli.store.models.transcodes import Worker as Worker
    from dumacle_cli.store.models.users import Installation as Installation
    from dumacle_cli.store.models.users import Login as Login
    from dumacle_cli.store.models.users import User as User
    from dumacle_cli.store.models.webhooks import (
        StripeEvent as StripeEvent,
    )
    from dumacle_cli.store.models.webhooks import (
        StripeObject as StripeObject,
    )
    from dumacle_cli.store.models.webhooks import (
        StripePayload as StripePayload,
    )
    from dumacle_cli.store.models.webhooks import (
        WebhookSecret as WebhookSecret,
    )

_MODULES = {
    "base": ("SCHEMA", "Base"),
    "accounts": ("BillingAccount",),
    "copies": ("Copy", "Outage", "RenditionCopy"),
    "files": ("File", "Version"),
    "findings": ("Finding",),
    "operations": ("Acting", "Audit", "Operation"),
    "parts": ("Part",),
    "plans": ("Customer", "Plan", "PlanPrice", "Subscription"),
    "pods": ("Credential", "Pod", "PodGrant", "Probe", "ProviderDefault"),
    "quotas": (
        "Entitlement",
        "OwnLimit",
        "PlanLimit",
        "QuotaAnchor",
        "QuotaClosing",
        "QuotaCounter",
        "QuotaEntry",
        "QuotaGrant",
        "QuotaLimit",
    ),
    "runs": ("Lease", "Run"),
    "transcodes": ("HookCall", "Pause", "Preset", "Rendition", "Transcode", "Unit", "Worker"),
    "users": ("Installation", "Login", "User"),
    "webhooks": ("StripeEvent", "StripeObject", "StripePayload", "WebhookSecret"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(name)


def complete() -> "type[Base]":
    """Import every table, and return the class whose metadata then has all of them."""
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return importlib.import_module(f"{__name__}.base").Base  # type: ignore[no-any-return]
