"""Requests to Stripe about what is sold: products and prices.

They are part of `StripeAccount`, whose docstring says what they raise and how often they take effect.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dumacle_cli.clients.stripe_billing import PAGE, Object, Tags, id_of, once


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a product: minor units of a currency per `month` or `year`; `others` are further currencies.

    `tax` is Stripe's tax behaviour, `inclusive` or `exclusive`, or empty where no tax is charged.
    """

    lookup_key: str
    product: str
    amount: int
    currency: str
    interval: str
    metadata: Tags
    tax: str = ""
    others: tuple[tuple[str, int], ...] = ()

    def matches(self, found: Object) -> bool:
        """Tell whether a price at Stripe has these values, which cannot be changed there."""
        recurring = found["recurring"] or {}
        every = recurring.get("interval"), recurring.get("interval_count")
        charged = found["product"], found["unit_amount"], found["currency"], *every
        same = charged == (self.product, self.amount, self.currency, self.interval, 1)
        taxed = not self.tax or found["tax_behavior"] in (self.tax, UNSPECIFIED)
        return same and taxed and self._options_match(found)

    def _options_match(self, found: Object) -> bool:
        others = other_currencies(found)
        amounts = {code: each["unit_amount"] for code, each in others.items()}
        taxes = {each["tax_behavior"] for each in others.values()} if self.tax else set()
        return amounts == dict(self.others) and taxes <= {self.tax}

    def options(self) -> Object:
        """Return the other currencies as Stripe is given them."""
        taxed = {"tax_behavior": self.tax} if self.tax else {}
        options = {code: {"unit_amount": amount} | taxed for code, amount in self.others}
        return {"currency_options": options} if options else {}


def other_currencies(found: Object) -> Object:
    """Return the options of a price by currency; Stripe lists its own currency among them, and none unasked."""
    return {code: each for code, each in (found.get("currency_options") or {}).items() if code != found["currency"]}


UNSPECIFIED = "unspecified"
"""The tax behaviour of a price that has none yet: it can be given one, once."""


class CatalogRequests:
    """The requests of an account about products and prices."""

    _api: Any

    def fetch(self, kind: str, object_id: str) -> Object | None:
        """Return the present state of an object."""
        raise NotImplementedError

    def _ask(self, request: Callable[..., Any], *arguments: Any) -> Object:
        raise NotImplementedError

    def _each(self, request: Callable[..., Any], only: Object) -> Iterator[Object]:
        raise NotImplementedError

    # Products

    def ensure_product(
        self, product: str | None, name: str, description: str, metadata: Tags, operation: str
    ) -> tuple[Object, bool]:
        """Create a product, with this id if one is given, or update it; return it, and whether anything changed."""
        found = self.fetch("product", product) if product else None
        if found is None:
            return self._create_product(product, name, description, metadata, operation), True
        if found["active"] and (found["name"], found["description"] or "") == (name, description):
            return found, False
        given = {"name": name, "description": description, "active": True}
        return self._ask(self._api.products.update, found["id"], given), True

    def _create_product(
        self, product: str | None, name: str, description: str, metadata: Tags, operation: str
    ) -> Object:
        wanted: Object = {"name": name, "metadata": dict(metadata)}
        if product:
            wanted["id"] = product
        if description:
            wanted["description"] = description
        return self._ask(self._api.products.create, wanted, once(operation, "product", wanted))

    def archive_product(self, product: str) -> bool:
        """Archive a product; return whether it was active."""
        found = self.fetch("product", product)
        if found is None or not found["active"]:
            return False
        self._ask(self._api.products.update, product, {"active": False})
        return True

    # Prices

    def price(self, lookup_key: str) -> Object | None:
        """Return the price with this lookup key, archived or not, or None."""
        only = {"lookup_keys": [lookup_key], "limit": 1, "expand": ["data.currency_options"]}
        return next(self._each(self._api.prices.list, only), None)

    def ensure_price(self, price: Price, operation: str) -> tuple[Object, bool]:
        """Create a price, or reactivate it, or give it its tax behaviour; return it, and whether anything changed.

        Existing subscribers keep paying their old price.
        """
        found = self.price(price.lookup_key)
        if found is None or not price.matches(found):
            return self._create_price(price, operation), True
        given: Object = {} if found["active"] else {"active": True}
        if price.tax and found["tax_behavior"] == UNSPECIFIED:
            given["tax_behavior"] = price.tax
        return (self._ask(self._api.prices.update, found["id"], given), True) if given else (found, False)

    def _create_price(self, price: Price, operation: str) -> Object:
        wanted = {
            "product": price.product,
            "unit_amount": price.amount,
            "currency": price.currency,
            "recurring": {"interval": price.interval},
            "lookup_key": price.lookup_key,
            "transfer_lookup_key": True,
            "metadata": dict(price.metadata),
        }
        wanted |= price.options() | ({"tax_behavior": price.tax} if price.tax else {})
        return self._ask(self._api.prices.create, wanted, once(operation, "price", repr(price)))

    def sell_only(self, price: Price, price_id: str, product: Object) -> bool:
        """Make a price the default one of its product, then archive the others with the same metadata.

        Returns whether anything changed. Stripe does not archive the default price of a product.
        """
        is_default = id_of(product.get("default_price")) == price_id
        if not is_default:
            self._ask(self._api.products.update, price.product, {"default_price": price_id})
        return bool(self._archive_others(price, price_id)) or not is_default

    def _archive_others(self, price: Price, keep: str) -> list[str]:
        others = self._each(self._api.prices.list, {"product": price.product, "active": True, "limit": PAGE})
        ours = [other["id"] for other in others if other["id"] != keep and other["metadata"] == price.metadata]
        for other in ours:
            self._ask(self._api.prices.update, other, {"active": False})
        return ours
