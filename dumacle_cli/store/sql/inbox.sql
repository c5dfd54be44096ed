-- The inbox of Stripe's deliveries. All that the listener's login may do is to call these functions.

-- Save verified deliveries, in one transaction however many they are: request a refresh of their objects, wake workers,
-- and count an event that was delivered before. Returns how many objects had no job yet. `p_objects` are the objects of
-- `p_events`, those of one event in order. As in workers, objects are locked first, by id, then events.
CREATE OR REPLACE FUNCTION app.receive_deliveries(
    p_ids text[], p_types text[], p_livemodes boolean[], p_created timestamptz[], p_errors text[], p_bodies bytea[],
    p_events text[], p_kinds text[], p_objects text[]
) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    settled text[];
    wanted text[];
    wants bigint[];
    woken integer;
BEGIN
    PERFORM app.act();
    -- What is settled is not fetched again because its event came twice.
    settled := ARRAY(
        SELECT id FROM app.stripe_events WHERE id = ANY (p_ids) AND status IN ('applied', 'ignored', 'foreign')
    );
    WITH asked AS (
        INSERT INTO app.stripe_objects AS object (id, kind, livemode, want, wanted_at)
        SELECT DISTINCT ON (t.id) t.id, t.kind, d.livemode, 1, clock_timestamp()
        FROM unnest(p_events, p_kinds, p_objects) AS t (event, kind, id)
        JOIN unnest(p_ids, p_livemodes) AS d (event, livemode) USING (event)
        WHERE t.event <> ALL (settled) ORDER BY t.id
        ON CONFLICT (id) DO UPDATE SET want = object.want + 1, wanted_at = clock_timestamp(), attempts = 0,
            livemode = coalesce(object.livemode, EXCLUDED.livemode)
        RETURNING id, want
    )
    SELECT array_agg(id), array_agg(want) INTO wanted, wants FROM asked;
    woken := app.wake('webhooks', 'stripe', wanted, 0);
    INSERT INTO app.stripe_events AS event
        (id, type, object_id, livemode, created_at, status, want, error, deliveries)
    SELECT DISTINCT ON (d.id) d.id, d.type, t.id, d.livemode, d.created,
        CASE WHEN d.error IS NOT NULL THEN 'dead' WHEN t.id IS NULL THEN 'ignored' ELSE 'received' END,
        w.want, d.error, count(*) OVER (PARTITION BY d.id)
    FROM unnest(p_ids, p_types, p_livemodes, p_created, p_errors) AS d (id, type, livemode, created, error)
    LEFT JOIN (
        SELECT DISTINCT ON (event) event, id
        FROM unnest(p_events, p_objects) WITH ORDINALITY AS t (event, id, place) ORDER BY event, place
    ) AS t ON t.event = d.id
    LEFT JOIN unnest(wanted, wants) AS w (id, want) ON w.id = t.id
    ORDER BY d.id
    ON CONFLICT (id) DO UPDATE SET deliveries = event.deliveries + EXCLUDED.deliveries,
        status = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.status ELSE event.status END,
        want = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.want ELSE event.want END,
        error = CASE WHEN event.status IN ('parked', 'dead') THEN EXCLUDED.error ELSE event.error END;
    INSERT INTO app.stripe_payloads (event_id, payload)
    SELECT DISTINCT ON (id) id, body FROM unnest(p_ids, p_bodies) AS d (id, body) ORDER BY id
    ON CONFLICT (event_id) DO NOTHING;
    RETURN coalesce(woken, 0);
END $$;

-- Note the secrets that a listener knows, and forget those that none has known or used for a day.
CREATE OR REPLACE FUNCTION app.note_webhook_secrets(p_labels text[], p_fingerprints text[]) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    INSERT INTO app.webhook_secrets AS known (label, fingerprint, loaded_at)
    SELECT label, fingerprint, now() FROM unnest(p_labels, p_fingerprints) AS given (label, fingerprint) ORDER BY label
    ON CONFLICT (label) DO UPDATE SET loaded_at = EXCLUDED.loaded_at, fingerprint = EXCLUDED.fingerprint,
        used_at = CASE WHEN known.fingerprint = EXCLUDED.fingerprint THEN known.used_at END,
        api_version = CASE WHEN known.fingerprint = EXCLUDED.fingerprint THEN known.api_version END;
    DELETE FROM app.webhook_secrets
    WHERE label <> ALL (p_labels) AND greatest(loaded_at, used_at) < now() - interval '1 day';
END $$;

-- Note that a secret signed a delivery, whose snapshot has this API version (a thin event has none).
CREATE OR REPLACE FUNCTION app.note_webhook_use(p_label text, p_version text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    UPDATE app.webhook_secrets SET used_at = now(), api_version = coalesce(p_version, api_version)
    WHERE label = p_label;
END $$;

-- Delete at most this many events that are settled or given up, received before an instant, with their bodies; of these
-- statuses, and types that begin so. Returns how many.
CREATE OR REPLACE FUNCTION app.prune_events(p_before timestamptz, p_statuses text[], p_type text, p_batch integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pruned bigint;
BEGIN
    PERFORM app.act();
    DELETE FROM app.stripe_events WHERE id IN (
        SELECT id FROM app.stripe_events
        WHERE received_at < p_before AND status = ANY (p_statuses) AND status NOT IN ('received', 'parked')
            AND starts_with(type, p_type)
        ORDER BY received_at, id LIMIT p_batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;

-- Delete at most this many bodies of settled events received before an instant; returns how many.
CREATE OR REPLACE FUNCTION app.prune_bodies(p_before timestamptz, p_batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pruned bigint;
BEGIN
    PERFORM app.act();
    DELETE FROM app.stripe_payloads WHERE event_id IN (
        SELECT body.event_id FROM app.stripe_payloads AS body JOIN app.stripe_events AS event ON event.id = body.event_id
        WHERE event.received_at < p_before AND event.status IN ('applied', 'ignored', 'foreign')
        LIMIT p_batch FOR UPDATE OF body SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;
