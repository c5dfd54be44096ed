"""What Stripe's API does to an account, route by route; parameters that nobody here uses are refused."""

from typing import Any

from tests.stripe_double.account import DAY, ENDED, Account, Object, Refused
from tests.stripe_double.api import on

KEPT_EVENTS = 30 * DAY
PAGED = ("limit", "starting_after", "ending_before")


def _merged(found: Object, metadata: Any) -> dict[str, str]:
    return {name: value for name, value in (found["metadata"] | (metadata or {})).items() if value != ""}


def _true(value: str) -> bool:
    if value not in ("true", "false"):
        raise Refused(400, f"Invalid boolean: {value}")
    return value == "true"


# Lists


def _listed(
    found: list[Object], url: str, limit: str = "10", starting_after: str = "", ending_before: str = ""
) -> Object:
    if not 1 <= int(limit) <= 100:
        raise Refused(400, "This value must be between 1 and 100.", "parameter_invalid_integer", param="limit")
    newest = found[::-1]
    ids = [each["id"] for each in newest]
    if ending_before:
        rest = newest[: ids.index(ending_before)]
        page, more = rest[-int(limit) :], len(rest) > int(limit)
    else:
        rest = newest[ids.index(starting_after) + 1 :] if starting_after else newest
        page, more = rest[: int(limit)], len(rest) > int(limit)
    return {"object": "list", "url": url, "data": page, "has_more": more}


def _only(found: list[Object], **wanted: Any) -> list[Object]:
    return [each for each in found if all(each[name] == value for name, value in wanted.items() if value is not None)]


# Products and prices


@on("POST", "/v1/products")
def _create_product(
    account: Account,
    *,
    name: Any = ...,
    id: str = "",
    description: Any = None,
    metadata: Any = None,
    active: str = "true",
) -> Object:
    if id in account.objects:
        raise Refused(400, "Product already exists.", "resource_already_exists")
    chosen = {"id": id} if id else {}
    fields = {"name": name, "description": description, "metadata": metadata or {}, "active": _true(active)}
    return account.announce("product", updated=account.now, **chosen, **fields)


@on("GET", "/v1/products", *PAGED)
def _products(account: Account, *, active: Any = None, **page: str) -> Object:
    return _listed(_only(account.all("product"), active=_true(active) if active else None), "/v1/products", **page)


@on("GET", "/v1/products/{id}")
def _product(account: Account, found: str) -> Object:
    return account.find("product", found)


@on("POST", "/v1/products/{id}")
def _update_product(
    account: Account,
    found: str,
    *,
    name: Any = None,
    description: Any = None,
    metadata: Any = None,
    active: Any = None,
    default_price: Any = None,
) -> Object:
    product = account.find("product", found)
    if default_price and account.find("price", default_price, 400)["product"] != found:
        raise Refused(400, "The default price must belong to the product.", param="default_price")
    fields: Object = {"metadata": _merged(product, metadata)}
    fields |= {"name": name} if name else {}
    fields |= {"description": description or None} if description is not None else {}
    fields |= {"active": _true(active)} if active else {}
    fields |= {"default_price": default_price} if default_price else {}
    return account.edit(product, **fields)


@on("POST", "/v1/prices")
def _create_price(
    account: Account,
    *,
    product: Any = ...,
    currency: Any = ...,
    unit_amount: Any = ...,
    recurring: Any = ...,
    lookup_key: Any = None,
    transfer_lookup_key: str = "false",
    metadata: Any = None,
    tax_behavior: str = "unspecified",
    currency_options: Any = None,
) -> Object:
    account.find("product", product, 400)
    options = _options(currency_options or {}, currency)
    for code, amount in [(currency, unit_amount), *((code, each["unit_amount"]) for code, each in options.items())]:
        _chargeable(int(amount), code)
    _free_key(account, lookup_key, take=_true(transfer_lookup_key))
    made = account.announce(
        "price",
        product=product,
        currency=currency,
        unit_amount=int(unit_amount),
        unit_amount_decimal=unit_amount,
        recurring={"meter": None, "trial_period_days": None, "usage_type": "licensed", "interval_count": 1} | recurring,
        lookup_key=lookup_key,
        metadata=metadata or {},
        tax_behavior=tax_behavior,
    )
    account.options[made["id"]] = options
    return made


def _options(given: Any, currency: str) -> Object:
    """Return the other currencies of a price as Stripe keeps them."""
    if currency in given:
        raise Refused(400, "The price's own currency cannot be one of its options.", param="currency_options")
    unset = {"custom_unit_amount": None, "tax_behavior": "unspecified", "unit_amount_decimal": None}
    return {code: unset | each | {"unit_amount": int(each["unit_amount"])} for code, each in given.items()}


def _with_options(account: Account, price: Object, *, wanted: bool) -> Object:
    """Return a price with its currencies, its own included, if they are to be expanded."""
    own = {price["currency"]: {"unit_amount": price["unit_amount"], "tax_behavior": price["tax_behavior"]}}
    return price | ({"currency_options": own | account.options.get(price["id"], {})} if wanted else {})


def _chargeable(amount: int, currency: str) -> None:
    if currency in ("bhd", "jod", "kwd", "omr", "tnd") and amount % 10:
        raise Refused(400, "Amounts in this currency must be a multiple of 10.", param="unit_amount")
    if currency in ("isk", "ugx") and amount % 100:
        raise Refused(400, "Amounts in this currency must be evenly divisible by 100.", param="unit_amount")
    if amount >= 10 ** (12 if currency == "idr" else 8):
        raise Refused(400, "This value must have at most eight digits.", param="unit_amount")


def _free_key(account: Account, lookup_key: str | None, *, take: bool) -> None:
    for holder in _only(account.all("price"), lookup_key=lookup_key) if lookup_key else ():
        if not take:
            raise Refused(400, f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key")
        account.edit(holder, lookup_key=None)


@on("GET", "/v1/prices", *PAGED)
def _prices(
    account: Account,
    *,
    lookup_keys: Any = None,
    product: Any = None,
    active: Any = None,
    expand: Any = None,
    **page: str,
) -> Object:
    found = _only(account.all("price"), product=product, active=_true(active) if active else None)
    chosen = [each for each in found if not lookup_keys or each["lookup_key"] in lookup_keys]
    wanted = "data.currency_options" in (expand or ())
    return _listed([_with_options(account, each, wanted=wanted) for each in chosen], "/v1/prices", **page)


@on("GET", "/v1/prices/{id}")
def _price(account: Account, found: str, *, expand: Any = None) -> Object:
    return _with_options(account, account.find("price", found), wanted="currency_options" in (expand or ()))


@on("POST", "/v1/prices/{id}")
def _update_price(
    account: Account, found: str, *, active: Any = None, metadata: Any = None, tax_behavior: Any = None
) -> Object:
    price = account.find("price", found)
    if tax_behavior and price["tax_behavior"] not in ("unspecified", tax_behavior):
        raise Refused(400, "The tax behavior of a price cannot be changed once it is set.", param="tax_behavior")
    if active == "false" and account.objects[price["product"]]["default_price"] == found:
        raise Refused(400, "This price cannot be archived because it is the default price of its product.")
    fields: Object = {"active": _true(active)} if active else {}
    fields |= {"tax_behavior": tax_behavior} if tax_behavior else {}
    return account.edit(price, metadata=_merged(price, metadata), **fields)


# Customers


@on("POST", "/v1/customers")
def _create_customer(account: Account, *, email: Any = None, name: Any = None, metadata: Any = None) -> Object:
    return account.announce("customer", email=email, name=name or None, metadata=metadata or {})


@on("GET", "/v1/customers", *PAGED)
def _customers(account: Account, *, email: Any = None, **page: str) -> Object:
    found = [each for each in _only(account.all("customer"), email=email) if not each.get("deleted")]
    return _listed(found, "/v1/customers", **page)


@on("GET", "/v1/customers/{id}")
def _customer(account: Account, found: str) -> Object:
    customer = account.find("customer", found)
    return {"id": found, "object": "customer", "deleted": True} if customer.get("deleted") else customer


@on("POST", "/v1/customers/{id}")
def _update_customer(
    account: Account, found: str, *, email: Any = None, name: Any = None, metadata: Any = None
) -> Object:
    customer = _live_customer(account, found, 404)
    fields = {"email": email} if email else {}
    fields |= {"name": name} if name else {}
    return account.edit(customer, metadata=_merged(customer, metadata), **fields)


@on("DELETE", "/v1/customers/{id}")
def delete_customer(account: Account, found: str) -> Object:
    """Delete a customer, whose subscriptions end."""
    customer = _live_customer(account, found, 404)
    for subscription in _only(account.all("subscription"), customer=found):
        if subscription["status"] not in ENDED:
            account.end(subscription)
    customer["deleted"] = True
    account.emit("customer.deleted", customer)
    return {"id": found, "object": "customer", "deleted": True}


def _live_customer(account: Account, found: str, status: int = 400) -> Object:
    customer = account.find("customer", found, status)
    if customer.get("deleted"):
        raise Refused(status, f"No such customer: '{found}'", "resource_missing", param="customer")
    return customer


# Checkout and the customer portal


@on("POST", "/v1/checkout/sessions")
def _create_session(
    account: Account,
    *,
    mode: Any = ...,
    customer: Any = ...,
    line_items: Any = ...,
    success_url: Any = ...,
    cancel_url: Any = None,
    client_reference_id: Any = None,
    metadata: Any = None,
    subscription_data: Any = None,
    automatic_tax: Any = None,
    customer_update: Any = None,
    allow_promotion_codes: Any = None,
    discounts: Any = None,
    currency: Any = None,
) -> Object:
    if mode != "subscription":
        raise Refused(400, f"this double knows the mode subscription, and not {mode}", param="mode")
    _live_customer(account, customer)
    price = _on_sale(account, line_items)
    if allow_promotion_codes and discounts:
        raise Refused(400, "You may only specify one of these parameters: allow_promotion_codes, discounts.")
    if automatic_tax and not customer_update:
        raise Refused(400, "Automatic tax calculation in Checkout requires a valid address on the Customer.")
    given = subscription_data or {}
    paid_in = account.paid_in(customer, price, currency)
    terms = account.terms(price, automatic_tax, discounts) | {"currency": paid_in}
    made = account.make(
        "checkout.session",
        allow_promotion_codes=bool(allow_promotion_codes),
        customer=customer,
        amount_total=account.amount(price, paid_in),
        amount_subtotal=account.amount(price, paid_in),
        currency=paid_in,
        success_url=success_url,
        cancel_url=cancel_url,
        client_reference_id=client_reference_id,
        metadata=metadata or {},
        expires_at=account.now + DAY,
    )
    account.ordered[made["id"]] = price, given.get("metadata", {}), terms, given.get("trial_period_days")
    made["url"] = f"https://checkout.stripe.com/c/pay/{made['id']}"
    return made


@on("GET", "/v1/checkout/sessions", *PAGED)
def _sessions(account: Account, *, customer: Any = None, status: Any = None, **page: str) -> Object:
    found = _only(account.all("checkout.session"), customer=customer, status=status)
    return _listed(found, "/v1/checkout/sessions", **page)


@on("GET", "/v1/checkout/sessions/{id}")
def _session(account: Account, found: str) -> Object:
    return account.find("checkout.session", found)


@on("POST", "/v1/checkout/sessions/{id}/expire")
def _expire_session(account: Account, found: str) -> Object:
    session = account.find("checkout.session", found)
    if session["status"] != "open":
        raise Refused(400, 'Only Checkout Sessions with a status in ["open"] can be expired.')
    return account.expire(session)


@on("POST", "/v1/billing_portal/sessions")
def _create_portal(account: Account, *, customer: Any = ..., return_url: Any = None) -> Object:
    _live_customer(account, customer)
    made = account.make("billing_portal.session", customer=customer, return_url=return_url)
    made["url"] = f"https://billing.stripe.com/p/session/{made['id']}"
    return made


def _on_sale(account: Account, items: Any) -> Object:
    if not isinstance(items, list) or len(items) != 1:
        raise Refused(400, "this double knows subscriptions to one price", param="items")
    price = account.find("price", items[0].get("price", ""), 400)
    if not price["active"]:
        raise Refused(400, "The price specified is inactive. This field only accepts active prices.", param="price")
    return price


# Subscriptions and invoices


@on("POST", "/v1/subscriptions")
def _create_subscription(
    account: Account,
    *,
    customer: Any = ...,
    items: Any = ...,
    metadata: Any = None,
    off_session: str = "false",
    payment_behavior: str = "allow_incomplete",
    automatic_tax: Any = None,
    discounts: Any = None,
    trial_period_days: Any = None,
    currency: Any = None,
) -> Object:
    buyer, price = _live_customer(account, customer), _on_sale(account, items)
    _true(off_session)
    if price["unit_amount"] and not (trial_period_days or buyer["invoice_settings"]["default_payment_method"]):
        said = "This customer has no attached payment source or default payment method."
        raise Refused(400, said, "resource_missing")
    paid_in = {"currency": account.paid_in(customer, price, currency)}
    terms = account.terms(price, automatic_tax, discounts) | account.trial(trial_period_days) | paid_in
    return account.subscribe(buyer, price, metadata or {}, payment_behavior, terms)


@on("GET", "/v1/subscriptions/{id}")
def _subscription(account: Account, found: str, *, expand: Any = None) -> Object:
    return _shown(account, account.find("subscription", found), expand, "schedule")


def _shown(account: Account, found: Object, expand: Any, name: str) -> Object:
    """Return a subscription with the first ten of its items, and with its schedule if it is to be expanded."""
    items = found["items"]
    shown = {**found, "items": {**items, "data": items["data"][:10], "has_more": len(items["data"]) > 10}}
    if found["schedule"] and name in (expand or ()):
        shown["schedule"] = account.objects[found["schedule"]]
    return shown


@on("GET", "/v1/subscription_items", *PAGED)
def _items(account: Account, *, subscription: Any = ..., **page: str) -> Object:
    found = account.find("subscription", subscription, 400)
    return _listed(found["items"]["data"][::-1], "/v1/subscription_items", **page)


@on("GET", "/v1/subscriptions", *PAGED)
def _subscriptions(
    account: Account,
    *,
    customer: Any = None,
    price: Any = None,
    status: Any = None,
    expand: Any = None,
    **page: str,
) -> Object:
    found = _only(account.all("subscription"), customer=customer)
    if price:
        found = [each for each in found if price in [item["price"]["id"] for item in each["items"]["data"]]]
    if status is None:
        found = [each for each in found if each["status"] != "canceled"]
    elif status == "ended":
        found = [each for each in found if each["status"] in ENDED]
    elif status != "all":
        found = _only(found, status=status)
    listed = _listed(found, "/v1/subscriptions", **page)
    return {**listed, "data": [_shown(account, each, expand, "data.schedule") for each in listed["data"]]}


@on("POST", "/v1/subscriptions/{id}")
def _update_subscription(
    account: Account,
    found: str,
    *,
    items: Any = None,
    cancel_at_period_end: Any = None,
    cancel_at: Any = None,
    pause_collection: Any = None,
    metadata: Any = None,
    proration_behavior: str = "create_prorations",
    payment_behavior: str = "allow_incomplete",
) -> Object:
    subscription = account.find("subscription", found)
    if subscription["status"] in ENDED and (items or cancel_at_period_end or cancel_at is not None):
        said = "A canceled subscription can only update its cancellation_details and metadata."
        raise Refused(400, said)
    if cancel_at_period_end and cancel_at is not None:
        raise Refused(400, "You may only specify one of these parameters: cancel_at, cancel_at_period_end.")
    if (cancel_at_period_end or cancel_at is not None) and subscription["schedule"]:
        said = (
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating any"
        )
        raise Refused(400, f"{said} cancelation behavior directly is not allowed. Please update the schedule instead.")
    if items:
        _change_item(account, subscription, items, payment_behavior)
    if cancel_at_period_end:
        _cancel_later(account, subscription, later=_true(cancel_at_period_end))
    if cancel_at is not None:
        _cancel_at(account, subscription, cancel_at)
    if pause_collection is not None:
        paused = {"behavior": pause_collection["behavior"], "resumes_at": None} if pause_collection else None
        account.edit(subscription, pause_collection=paused)
    return account.edit(subscription, metadata=_merged(subscription, metadata))


def _change_item(account: Account, subscription: Object, items: Any, behavior: str) -> None:
    item, price, quantity = _changed_item(account, subscription, items)
    account.switch(subscription, item["id"], price, quantity, behavior)


def _changed_item(account: Account, subscription: Object, items: Any) -> tuple[Object, Object, int]:
    """Return the item to change, its new price, and how many: one unless it is said."""
    price, present = _on_sale(account, items), {item["id"]: item for item in subscription["items"]["data"]}
    item = present.get(items[0].get("id"))
    if item is None:
        raise Refused(400, "this double changes one item of a subscription", param="items[0][id]")
    account.amount(price, subscription["currency"])
    if any(each["price"]["id"] == price["id"] for each in present.values() if each is not item):
        raise Refused(400, f"Cannot add multiple subscription items with the same plan: {price['id']}")
    return item, price, int(items[0].get("quantity", 1))


def _cancel_later(account: Account, subscription: Object, *, later: bool) -> None:
    ends = {item["current_period_end"] for item in subscription["items"]["data"]}
    if later and len(ends) > 1:
        raise Refused(400, "cancel_at_period_end cannot be set for a subscription with several periods.")
    account.edit(
        subscription,
        cancel_at_period_end=later,
        cancel_at=max(ends) if later else None,
        canceled_at=account.now if later else None,
    )


def _cancel_at(account: Account, subscription: Object, at: str) -> None:
    ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    when = None if at == "" else max(ends) if at == "max_period_end" else int(at)
    account.edit(subscription, cancel_at=when, cancel_at_period_end=False, canceled_at=account.now if when else None)


@on("POST", "/v1/subscriptions/{id}/resume")
def _resume(account: Account, found: str) -> Object:
    subscription = account.find("subscription", found)
    if subscription["status"] != "paused":
        raise Refused(400, "Only paused subscriptions can be resumed.")
    return account.edit(subscription, status="active")


@on("GET", "/v1/subscription_schedules/{id}")
def _schedule(account: Account, found: str) -> Object:
    return account.find("subscription_schedule", found)


@on("POST", "/v1/subscription_schedules")
def _create_schedule(account: Account, *, from_subscription: Any = ...) -> Object:
    subscription = account.find("subscription", from_subscription, 400)
    if subscription["schedule"]:
        raise Refused(400, "You cannot migrate a subscription that is already attached to a schedule.")
    return account.schedule(subscription)


@on("POST", "/v1/subscription_schedules/{id}")
def _update_schedule(
    account: Account, found: str, *, phases: Any = None, end_behavior: str = "release", metadata: Any = None
) -> Object:
    schedule = account.find("subscription_schedule", found)
    schedule |= {"end_behavior": end_behavior, "metadata": metadata or {}}
    start = None
    for phase in phases or ():
        phase |= {"start_date": int(phase.get("start_date") or start or 0), "trial_end": None}
        months = {"month": 31, "year": 366}[phase.get("duration", {}).get("interval", "month")]
        start = phase["end_date"] = int(phase.get("end_date") or phase["start_date"] + months * DAY)
        paid_in = account.objects[schedule["subscription"]]["currency"]
        for item in phase["items"]:
            price = account.find("price", item["price"], 400)
            if phase.setdefault("currency", price["currency"]) != paid_in:
                raise Refused(400, "The currency of a subscription cannot be changed.", param="phases")
            account.amount(price, paid_in)
            item["quantity"] = int(item["quantity"])
    if phases:
        kept, given = schedule["phases"][0], phases[0]
        if (kept["start_date"], kept["end_date"]) != (given["start_date"], given["end_date"]):
            raise Refused(400, "You can not modify the start date of the current phase.")
        schedule["phases"] = phases
    account.emit("subscription_schedule.updated", schedule)
    return schedule


@on("POST", "/v1/subscription_schedules/{id}/release")
def _release_schedule(account: Account, found: str) -> Object:
    schedule = account.find("subscription_schedule", found)
    if schedule["status"] not in ("active", "not_started"):
        raise Refused(
            400, f"You cannot release a subscription schedule that is currently in the `{schedule['status']}` status."
        )
    return account.release(schedule)


@on("DELETE", "/v1/subscriptions/{id}")
def _cancel(account: Account, found: str) -> Object:
    subscription = account.find("subscription", found)
    if subscription["status"] in ENDED:
        raise Refused(404, f"No such subscription: '{found}'", "resource_missing", param="id")
    return account.end(subscription)


@on("GET", "/v1/invoices", *PAGED)
def _invoices(
    account: Account, *, customer: Any = None, subscription: Any = None, status: Any = None, **page: str
) -> Object:
    found = _only(account.all("invoice"), customer=customer, status=status)
    if subscription:
        found = [each for each in found if each["parent"]["subscription_details"]["subscription"] == subscription]
    return _listed(found, "/v1/invoices", **page)


@on("POST", "/v1/invoices/create_preview")
def _preview(account: Account, *, subscription: Any = ..., subscription_details: Any = ...) -> Object:
    found = account.find("subscription", subscription, 400)
    return account.preview(found, *_changed_item(account, found, subscription_details["items"]))


@on("GET", "/v1/invoices/{id}/lines", *PAGED)
def _lines(account: Account, found: str, **page: str) -> Object:
    return _listed(account.find("invoice", found)["lines"]["data"][::-1], f"/v1/invoices/{found}/lines", **page)


@on("GET", "/v1/invoice_payments", *PAGED)
def _payments(account: Account, *, invoice: Any = None, status: Any = None, **page: str) -> Object:
    found = _only(account.all("invoice_payment"), invoice=invoice, status=status)
    return _listed(found, "/v1/invoice_payments", **page)


@on("GET", "/v1/refunds", *PAGED)
def _refunds(account: Account, *, payment_intent: Any = None, **page: str) -> Object:
    return _listed(_only(account.all("refund"), payment_intent=payment_intent), "/v1/refunds", **page)


@on("POST", "/v1/refunds")
def _refund(account: Account, *, payment_intent: Any = ..., amount: Any = None) -> Object:
    paid = [each for each in account.all("invoice_payment") if each["payment"]["payment_intent"] == payment_intent]
    if not paid:
        raise Refused(404, f"No such payment_intent: '{payment_intent}'", "resource_missing", param="payment_intent")
    refunded = sum(each["amount"] for each in _only(account.all("refund"), payment_intent=payment_intent))
    wanted = int(amount) if amount else paid[0]["amount_paid"] - refunded
    if not wanted or wanted > paid[0]["amount_paid"] - refunded:
        raise Refused(400, "Refund amount is greater than unrefunded amount on charge.", param="amount")
    return account.announce("refund", payment_intent=payment_intent, amount=wanted, currency=paid[0]["currency"])


@on("GET", "/v1/invoices/{id}")
def _invoice(account: Account, found: str) -> Object:
    return account.find("invoice", found)


# The account


@on("GET", "/v1/account")
def _account(account: Account) -> Object:
    return {"id": account.id, "object": "account", "type": "standard"}


# Events


@on("GET", "/v1/events", *PAGED)
def _events(
    account: Account,
    *,
    type: Any = None,
    types: Any = None,
    created: Any = None,
    delivery_success: Any = None,
    **page: str,
) -> Object:
    since = max(account.now - KEPT_EVENTS + 1, int((created or {}).get("gte", 0)))
    found = [each for each in account.all("event") if each["created"] >= since]
    found = [each for each in _only(found, type=type) if not types or each["type"] in types]
    if delivery_success:
        found = [each for each in found if (each["pending_webhooks"] == 0) == _true(delivery_success)]
    return _listed(found, "/v1/events", **page)


@on("GET", "/v1/events/{id}")
def _event(account: Account, found: str) -> Object:
    return account.find("event", found)


@on("POST", "/v1/events/{id}/retry", "webhook_endpoint")
def _retry_event(account: Account, found: str, **_: str) -> Object:
    event = account.find("event", found)
    account.queue.append(event)
    return event


# Webhook endpoints: the secret is in the answer to their creation only
# (https://docs.stripe.com/api/webhook_endpoints).


@on("GET", "/v1/webhook_endpoints", *PAGED)
def _endpoints(account: Account, **page: str) -> Object:
    return _listed(account.all("webhook_endpoint"), "/v1/webhook_endpoints", **page)


@on("POST", "/v1/webhook_endpoints")
def _create_endpoint(
    account: Account, *, url: Any = ..., enabled_events: Any = ..., api_version: Any = None, metadata: Any = None
) -> Object:
    made = account.make("webhook_endpoint", url=url, enabled_events=enabled_events, api_version=api_version)
    made |= {"metadata": metadata or {}, "description": None}
    return made | {"secret": f"whsec_of_{made['id']}"}


@on("POST", "/v1/webhook_endpoints/{id}")
def _update_endpoint(
    account: Account, found: str, *, enabled_events: Any = None, metadata: Any = None, disabled: str = ""
) -> Object:
    endpoint = account.find("webhook_endpoint", found)
    endpoint["metadata"] = _merged(endpoint, metadata)
    if enabled_events:
        endpoint["enabled_events"] = enabled_events
    if disabled:
        endpoint["status"] = "disabled" if _true(disabled) else "enabled"
    return endpoint


@on("DELETE", "/v1/webhook_endpoints/{id}")
def _delete_endpoint(account: Account, found: str) -> Object:
    endpoint = account.find("webhook_endpoint", found)
    del account.objects[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}
