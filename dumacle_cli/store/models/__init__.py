"""The tables, one module a noun."""

from dumacle_cli.store.models.base import SCHEMA, Base
from dumacle_cli.store.models.files import Copy, File, Version
from dumacle_cli.store.models.operations import Audit, Operation
from dumacle_cli.store.models.plans import Plan, Subscription
from dumacle_cli.store.models.pods import Credential, Pod, PodGrant, ProviderDefault
from dumacle_cli.store.models.quotas import QuotaAnchor, QuotaClosing, QuotaCounter, QuotaEntry, QuotaGrant, QuotaLimit
from dumacle_cli.store.models.runs import Lease, Run
from dumacle_cli.store.models.transcodes import Rendition, Transcode, Unit
from dumacle_cli.store.models.users import Login, User
from dumacle_cli.store.models.webhooks import StripeEvent, StripeObject, StripePayload

__all__ = [
    "SCHEMA",
    "Audit",
    "Base",
    "Copy",
    "Credential",
    "File",
    "Lease",
    "Login",
    "Operation",
    "Plan",
    "Pod",
    "PodGrant",
    "ProviderDefault",
    "QuotaAnchor",
    "QuotaClosing",
    "QuotaCounter",
    "QuotaEntry",
    "QuotaGrant",
    "QuotaLimit",
    "Rendition",
    "Run",
    "StripeEvent",
    "StripeObject",
    "StripePayload",
    "Subscription",
    "Transcode",
    "Unit",
    "User",
    "Version",
]
