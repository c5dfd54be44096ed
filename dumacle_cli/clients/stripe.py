"""Stripe's API. The only importer of stripe.

Objects are plain dicts as Stripe's API returns them; amounts are in minor units, times in seconds since 1970 (UTC).
Every method raises StripeUnavailable (retry it), StripeRefused (do not retry) or StripeForbidden (the key).
A method with an `operation` takes effect once, even if repeated with the same arguments within a day.
A StripeAccount may be used by many threads.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dumacle_cli.clients.proxies import proxy_of
from dumacle_cli.errors import DumacleError, StripeForbidden, StripeRefused, StripeUnavailable

if TYPE_CHECKING:
    from stripe import RequestOptions, StripeError, StripeObject
    from stripe.params import ProductCreateParams, SubscriptionListParams

KINDS = {
    "checkout.session": "checkout.sessions",
    "customer": "customers",
    "invoice": "invoices",
    "price": "prices",
    "product": "products",
    "subscription": "subscriptions",
}
API = "https://api.stripe.com"
CONNECT_S, ANSWER_S = 5, 30
RETRIES = 1
PAGE = 100
LONGEST_REASON = 300

Object = dict[str, Any]
Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a product: minor units of a currency per `month` or `year`."""

    lookup_key: str
    product: str
    amount: int
    currency: str
    interval: str
    metadata: Tags

    def matches(self, found: Object) -> bool:
        """Tell whether a price at Stripe has these values, which cannot be changed there."""
        recurring = found["recurring"] or {}
        every = recurring.get("interval"), recurring.get("interval_count")
        charged = found["product"], found["unit_amount"], found["currency"], *every
        return charged == (self.product, self.amount, self.currency, self.interval, 1)


class StripeAccount:
    """An account at Stripe, accessed with a secret key; without an API base, at Stripe's own."""

    def __init__(self, key: str, api_base: str | None = None) -> None:
        import stripe

        # Only a global setting turns telemetry off: timings and a machine id with each request.
        stripe.enable_telemetry = False
        self.livemode = key.startswith(("sk_live_", "rk_live_"))
        # An empty string means no proxy; with None the library would look for one in the environment.
        proxy = proxy_of(api_base or API) or ""
        self._http = stripe.RequestsClient(timeout=(CONNECT_S, ANSWER_S), proxy={"http": proxy, "https": proxy})
        self._api = stripe.StripeClient(
            key,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            http_client=self._http,
            max_network_retries=RETRIES,
        ).v1

    def close(self) -> None:
        """Close the connections of this thread."""
        self._http.close()  # type: ignore[no-untyped-call]

    def fetch(self, kind: str, object_id: str) -> Object | None:
        """Return the present state of an object of one of KINDS, or None if it does not exist or was deleted."""
        from stripe import InvalidRequestError

        service: Any = self._api
        for name in KINDS[kind].split("."):
            service = getattr(service, name)
        with _translated():
            try:
                found = _plain(service.retrieve(object_id))
            except InvalidRequestError as error:
                if error.http_status != 404:
                    raise
                return None
        return None if found.get("deleted") else found

    def ensure_product(
        self, product: str | None, name: str, description: str, metadata: Tags, operation: str
    ) -> tuple[Object, bool]:
        """Create a product, or update the one with this id; return it, and whether anything changed."""
        found = self.fetch("product", product) if product else None
        if found is None:
            return self._create_product(name, description, metadata, operation), True
        if found["active"] and (found["name"], found["description"] or "") == (name, description):
            return found, False
        with _translated():
            return _plain(
                self._api.products.update(found["id"], {"name": name, "description": description, "active": True})
            ), True

    def _create_product(self, name: str, description: str, metadata: Tags, operation: str) -> Object:
        wanted: ProductCreateParams = {"name": name, "metadata": dict(metadata)}
        if description:
            wanted["description"] = description
        with _translated():
            return _plain(
                self._api.products.create(wanted, _once(operation, "product", name, description, dict(metadata)))
            )

    def archive_product(self, product: str) -> bool:
        """Archive a product; return whether it was active."""
        found = self.fetch("product", product)
        if found is None or not found["active"]:
            return False
        with _translated():
            self._api.products.update(product, {"active": False})
        return True

    def price(self, lookup_key: str) -> Object | None:
        """Return the price with this lookup key, archived or not, or None."""
        with _translated():
            found = self._api.prices.list({"lookup_keys": [lookup_key], "limit": 1}).data
        return _plain(found[0]) if found else None

    def ensure_price(self, price: Price, operation: str) -> tuple[Object, bool]:
        """Create or reactivate a price, and archive the product's other prices with the same metadata.

        Returns the price, and whether anything changed. Existing subscribers keep paying their old price.
        """
        found = self.price(price.lookup_key)
        unchanged = found is not None and price.matches(found)
        if found is None or not unchanged:
            found = self._create_price(price, operation)
        elif not found["active"]:
            found, unchanged = self._set_active(found["id"], True), False
        archived = self._archive_others(price, found["id"])
        return found, archived or not unchanged

    def _create_price(self, price: Price, operation: str) -> Object:
        interval: Any = price.interval
        with _translated():
            return _plain(
                self._api.prices.create(
                    {
                        "product": price.product,
                        "unit_amount": price.amount,
                        "currency": price.currency,
                        "recurring": {"interval": interval},
                        "lookup_key": price.lookup_key,
                        "transfer_lookup_key": True,
                        "metadata": dict(price.metadata),
                    },
                    _once(operation, "price", repr(price)),
                )
            )

    def _archive_others(self, price: Price, keep: str) -> bool:
        with _translated():
            listed = self._api.prices.list({"product": price.product, "active": True, "limit": PAGE})
            others = [_plain(other) for other in listed.auto_paging_iter()]
        ours = [other["id"] for other in others if other["id"] != keep and other["metadata"] == price.metadata]
        for other in ours:
            self._set_active(other, False)
        return bool(ours)

    def _set_active(self, price: str, active: bool) -> Object:
        with _translated():
            return _plain(self._api.prices.update(price, {"active": active}))

    def create_customer(self, email: str, name: str, metadata: Tags, operation: str) -> Object:
        """Create a customer; the name may be empty."""
        with _translated():
            return _plain(
                self._api.customers.create(
                    {"email": email, "name": name, "metadata": dict(metadata)},
                    _once(operation, "customer", email, name, dict(metadata)),
                )
            )

    def checkout(
        self, customer: str, price: str, success_url: str, cancel_url: str, metadata: Tags, operation: str
    ) -> Object:
        """Create a page (`url`, valid 24 hours) to subscribe by paying; page and subscription get the metadata."""
        tags = dict(metadata)
        with _translated():
            return _plain(
                self._api.checkout.sessions.create(
                    {
                        "mode": "subscription",
                        "customer": customer,
                        "line_items": [{"price": price, "quantity": 1}],
                        "success_url": success_url,
                        "cancel_url": cancel_url,
                        "metadata": tags,
                        "subscription_data": {"metadata": tags},
                    },
                    _once(operation, "checkout", customer, price, success_url, cancel_url, tags),
                )
            )

    def subscribe(self, customer: str, price: str, metadata: Tags, operation: str) -> Object:
        """Subscribe a customer by charging the payment method on file; if that fails, nothing is created."""
        with _translated():
            return _plain(
                self._api.subscriptions.create(
                    {
                        "customer": customer,
                        "items": [{"price": price}],
                        "metadata": dict(metadata),
                        "off_session": True,
                        "payment_behavior": "error_if_incomplete",
                    },
                    _once(operation, "subscribe", customer, price, dict(metadata)),
                )
            )

    def portal(self, customer: str, return_url: str, operation: str) -> Object:
        """Create a page (`url`, valid a few minutes) for the customer's invoices and payment methods."""
        with _translated():
            return _plain(
                self._api.billing_portal.sessions.create(
                    {"customer": customer, "return_url": return_url},
                    _once(operation, "portal", customer, return_url),
                )
            )

    def change(self, subscription: Object, price: str, operation: str) -> Object:
        """Move a fetched subscription to another price now, prorated; if charging fails, nothing changes."""
        item = subscription["items"]["data"][0]["id"]
        with _translated():
            return _plain(
                self._api.subscriptions.update(
                    subscription["id"],
                    {
                        "items": [{"id": item, "price": price}],
                        "proration_behavior": "create_prorations",
                        "payment_behavior": "error_if_incomplete",
                    },
                    _once(operation, "change", subscription["id"], item, price),
                )
            )

    def cancel(self, subscription: str, *, now: bool) -> Object:
        """End a subscription now, or at the end of the paid period."""
        with _translated():
            if now:
                return _plain(self._api.subscriptions.cancel(subscription))
            return _plain(self._api.subscriptions.update(subscription, {"cancel_at_period_end": True}))

    @property
    def api_version(self) -> str:
        """The API version of all requests, and of the endpoints that are created."""
        return api_version()

    def endpoints(self) -> list[Object]:
        """Return the webhook endpoints of the account, the newest first."""
        with _translated():
            return [_plain(found) for found in self._api.webhook_endpoints.list({"limit": PAGE}).auto_paging_iter()]

    def create_endpoint(self, url: str, events: Sequence[str], metadata: Tags, operation: str) -> Object:
        """Create a webhook endpoint; only this answer has its `secret`."""
        wanted: Any = {"url": url, "enabled_events": list(events), "metadata": dict(metadata)}
        wanted["api_version"] = self.api_version
        with _translated():
            return _plain(
                self._api.webhook_endpoints.create(wanted, _once(operation, "endpoint", url, events, dict(metadata)))
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

    def subscriptions(self, customer: str | None = None, price: str | None = None) -> Iterator[Object]:
        """Yield subscriptions of every status, the newest first, in constant memory."""
        only: SubscriptionListParams = {"status": "all", "limit": PAGE}
        if customer:
            only["customer"] = customer
        if price:
            only["price"] = price
        with _translated():
            listed = self._api.subscriptions.list(only)
            yield from map(_plain, listed.auto_paging_iter())


def api_version() -> str:
    """Return the API version that this release was made for."""
    import stripe

    return stripe.api_version or ""


def _plain(found: "StripeObject") -> Object:
    return found.to_dict(for_json=True)


def _once(operation: str, *request: object) -> "RequestOptions":
    """Return an idempotency key, different for each request of an operation: a reused one would be refused."""
    text = json.dumps([operation, *request], sort_keys=True)
    return {"idempotency_key": hashlib.sha256(text.encode()).hexdigest()}


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
