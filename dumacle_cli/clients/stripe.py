"""Stripe's API. The only importer of stripe.

Objects are plain dicts as Stripe's API returns them; amounts are in minor units, times in seconds since 1970 (UTC).
Every method raises StripeUnavailable (retry it), StripeRefused (do not retry) or StripeForbidden (the key).
A method with an `operation` takes effect once, even if repeated with the same arguments within a day.
A StripeAccount may be used by many threads.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dumacle_cli.clients.pace import Pace
from dumacle_cli.clients.proxies import proxy_of
from dumacle_cli.clients.stripe_billing import PAGE, BillingRequests, once
from dumacle_cli.clients.stripe_billing import Object as Object
from dumacle_cli.clients.stripe_billing import Tags as Tags
from dumacle_cli.clients.stripe_billing import Terms as Terms
from dumacle_cli.clients.stripe_billing import id_of as id_of
from dumacle_cli.clients.stripe_catalog import CatalogRequests
from dumacle_cli.clients.stripe_catalog import Price as Price
from dumacle_cli.errors import DumacleError, StripeForbidden, StripeRefused, StripeUnavailable

if TYPE_CHECKING:
    from stripe import RequestsClient, StripeError, StripeObject

KINDS = {
    "checkout.session": "checkout.sessions",
    "customer": "customers",
    "invoice": "invoices",
    "price": "prices",
    "product": "products",
    "refund": "refunds",
    "subscription": "subscriptions",
    "subscription_schedule": "subscription_schedules",
}
API = "https://api.stripe.com"
NOTHING = "none"
"""The id of no object."""
CONNECT_S, ANSWER_S = 5, 30
RETRIES = 1
PER_SECOND = 25
"""Requests in a second: what a sandbox allows, and a quarter of what live mode does."""
TYPES_AT_ONCE = 20
LONGEST_REASON = 300


class StripeAccount(BillingRequests, CatalogRequests):
    """An account at Stripe, accessed with a secret key; without an API base, at Stripe's own.

    `tax` is how Stripe Tax is added to prices, `inclusive` or `exclusive`, or empty without it; with `promotion_codes`
    customers may enter one when they pay.
    """

    def __init__(self, key: str, api_base: str | None = None, *, tax: str = "", promotion_codes: bool = False) -> None:
        import stripe

        # Only a global setting turns telemetry off: timings and a machine id with each request.
        stripe.enable_telemetry = False
        self.tax, self.promotion_codes = tax, promotion_codes
        self.livemode = key.startswith(("sk_live_", "rk_live_"))
        # An empty string means no proxy; with None the library would look for one in the environment.
        proxy = proxy_of(api_base or API) or ""
        self.clock_off: float | None = None
        """How many seconds the clock of Stripe is ahead of this machine's, by the last answer."""
        self._pace = Pace(PER_SECOND)
        self._http = _http_client(self, proxy)
        self._api = stripe.StripeClient(
            key,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            http_client=self._http,
            max_network_retries=RETRIES,
        ).v1

    def close(self) -> None:
        """Close the connections of this thread."""
        self._http.close()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Return when the next request may begin."""
        self._pace.wait()

    @cached_property
    def account(self) -> str | None:
        """The id of the account, or None if a restricted key may not read it."""
        from stripe import InvalidRequestError, PermissionError

        with _translated():
            try:
                return str(self._api.accounts.retrieve_current()["id"])
            except (PermissionError, InvalidRequestError):
                return None

    def fetch(self, kind: str, object_id: str) -> Object | None:
        """Return the present state of an object of one of KINDS, or None if it does not exist or was deleted."""
        from stripe import InvalidRequestError

        # What is planned for a subscription stands in its schedule.
        given = {"expand": ["schedule"]} if kind == "subscription" else {}
        with _translated():
            try:
                found = _plain(self._service(kind).retrieve(object_id, given))
            except InvalidRequestError as error:
                if error.http_status != 404:
                    raise
                return None
        if kind == "subscription":
            return self._complete(found)
        return None if found.get("deleted") else found

    def _service(self, kind: str) -> Any:
        service: Any = self._api
        for name in KINDS[kind].split("."):
            service = getattr(service, name)
        return service

    def _ask(self, request: Callable[..., "StripeObject"], *arguments: Any) -> Object:
        with _translated():
            return _plain(request(*arguments))

    def _each(self, request: Callable[..., Any], only: Object) -> Iterator[Object]:
        with _translated():
            yield from map(_plain, request(only).auto_paging_iter())

    # What a comparison and a diagnosis read

    def customers(self, email: str = "") -> Iterator[Object]:
        """Yield all customers, or those with an e-mail address, the newest first; deleted ones are not listed."""
        only: Object = {"email": email} if email else {}
        return self._each(self._api.customers.list, only | {"limit": PAGE})

    def events(self, types: Sequence[str], since: int) -> Iterator[Object]:
        """Yield the events of these types since a time, the newest first; Stripe keeps them for 30 days."""
        for start in range(0, len(types), TYPES_AT_ONCE):
            some = list(types[start : start + TYPES_AT_ONCE])
            yield from self._each(self._api.events.list, {"types": some, "created": {"gte": since}, "limit": PAGE})

    def endpoints(self) -> list[Object]:
        """Return the webhook endpoints of the account."""
        return list(self._each(self._api.webhook_endpoints.list, {"limit": PAGE}))

    def may_read(self, kind: str) -> bool:
        """Return whether the key may list objects of one of KINDS."""
        try:
            with _translated():
                self._service(kind).list({"limit": 1})
        except StripeForbidden:
            return False
        return True

    def may_write(self, kind: str) -> bool:
        """Return whether the key may change objects of one of KINDS; nothing is changed.

        Stripe checks the permission before it looks for the object, and there is none.
        """
        try:
            with _translated():
                self._service(kind).update(NOTHING, {})
        except StripeForbidden:
            return False
        except StripeRefused:
            pass
        return True

    @property
    def api_version(self) -> str:
        """The API version of all requests, and of the endpoints that are created."""
        return api_version()

    def create_endpoint(self, url: str, events: Sequence[str], metadata: Tags, operation: str) -> Object:
        """Create a webhook endpoint; only this answer has its `secret`."""
        wanted: Any = {"url": url, "enabled_events": list(events), "metadata": dict(metadata)}
        wanted["api_version"] = self.api_version
        with _translated():
            return _plain(
                self._api.webhook_endpoints.create(wanted, once(operation, "endpoint", url, events, dict(metadata)))
            )

    def update_endpoint(self, endpoint: str, events: Sequence[str] | None = None, metadata: Tags | None = None) -> None:
        """Change which events an endpoint receives, or add to its metadata."""
        wanted: Any = {"enabled_events": list(events)} if events else {}
        if metadata:
            wanted["metadata"] = dict(metadata)
        with _translated():
            self._api.webhook_endpoints.update(endpoint, wanted)

    def delete_endpoint(self, endpoint: str) -> None:
        """Delete a webhook endpoint: nothing more is delivered to it."""
        with _translated():
            self._api.webhook_endpoints.delete(endpoint)


def _http_client(account: StripeAccount, proxy: str) -> "RequestsClient":
    """Return the library's client, which keeps the pace, and compares the clocks."""
    import stripe

    class Paced(stripe.RequestsClient):
        def request(  # type: ignore[override]  # the library's own classes differ here
            self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
        ) -> tuple[bytes, int, Mapping[str, str]]:
            account.wait()
            answer = super().request(method, url, headers, post_data)
            if date := answer[2].get("date"):
                account.clock_off = parsedate_to_datetime(date).timestamp() - time.time()
            return answer

    return Paced(timeout=(CONNECT_S, ANSWER_S), proxy={"http": proxy, "https": proxy})


def api_version() -> str:
    """Return the API version that this release was made for."""
    import stripe

    return stripe.api_version or ""


def _plain(found: "StripeObject") -> Object:
    return found.to_dict(for_json=True)


@contextmanager
def _translated() -> Iterator[None]:
    from stripe import StripeError

    try:
        yield
    except StripeError as error:
        # Not chained: Stripe's errors contain whole responses.
        raise _error(error) from None


def _error(error: "StripeError") -> DumacleError:
    import stripe

    if isinstance(error, stripe.AuthenticationError):
        return StripeForbidden(reason="it is not valid")
    if isinstance(error, stripe.PermissionError):
        return StripeForbidden(reason="it lacks the permission")
    if isinstance(error, stripe.RateLimitError):
        return StripeUnavailable(reason="too many requests")
    if isinstance(error, stripe.APIConnectionError):
        return StripeUnavailable(reason=f"no connection ({type(error.__cause__).__name__})")
    if isinstance(error, stripe.APIError):
        return StripeUnavailable(reason=f"it answered {error.http_status}")
    return StripeRefused(reason=" ".join((error.user_message or type(error).__name__).split())[:LONGEST_REASON])
