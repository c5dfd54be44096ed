-- Leases claim capacity before bytes move. Locks are always taken in this order: the user, pods by id, then the
-- counters of a user, storage before upload; so these functions do not deadlock.

-- Claim up to `p_wanted` bytes for `p_seconds`, less near the limit (a quarter of what is free, so that others find
-- room too) but never below `p_least`; or grant nothing and return which limit refused it and how much it has free.
CREATE OR REPLACE FUNCTION app.take_lease(
    p_pod bigint, p_user bigint, p_run bigint, p_wanted bigint, p_least bigint, p_seconds double precision,
    p_at timestamptz, OUT lease_id bigint, OUT granted bigint, OUT refused_by text, OUT free bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pod_free bigint;
    owner app.users;
    storage app.quota_counters;
    upload app.quota_counters;
BEGIN
    PERFORM app.act();
    IF app.actor() IS NOT NULL AND p_at IS DISTINCT FROM now() THEN
        RAISE EXCEPTION 'only the owner may pass another time' USING ERRCODE = 'insufficient_privilege';
    ELSIF least(p_wanted, p_least) < 0 OR p_seconds NOT BETWEEN 0 AND 86400 THEN
        RAISE EXCEPTION 'a lease has at least 0 bytes and lasts at most a day' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- What was checked when the run began may have been deleted since.
    SELECT * INTO owner FROM app.users WHERE id = p_user FOR KEY SHARE;
    IF NOT FOUND OR owner.deleted_at IS NOT NULL THEN
        RAISE EXCEPTION 'the owner was deleted meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF owner.status <> 'active' THEN
        RAISE EXCEPTION 'the owner was disabled meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT capacity - used - reserved INTO pod_free FROM app.pods
    WHERE id = p_pod AND deleted_at IS NULL FOR NO KEY UPDATE;
    IF p_run IS NOT NULL AND pod_free IS NULL THEN
        RAISE EXCEPTION 'the pod was deleted meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF p_run IS NOT NULL
        AND NOT EXISTS (SELECT FROM app.pod_grants WHERE pod_id = p_pod AND user_id = p_user FOR KEY SHARE) THEN
        RAISE EXCEPTION 'the pod was taken from its user meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    storage := app.open_quota_counter(p_user, 'storage', p_at);
    upload := app.open_quota_counter(p_user, 'upload', p_at);
    SELECT room.name, greatest(room.bytes, 0) INTO refused_by, free
    FROM (VALUES
        (1, 'pod', coalesce(pod_free, 0)),
        (2, 'storage', app.quota_limit(p_user, 'storage', p_at) - storage.used - storage.reserved),
        (3, 'upload', app.quota_limit(p_user, 'upload', greatest(p_at, upload.period_start))
                      - upload.used - upload.reserved)
    ) AS room (rank, name, bytes) WHERE room.bytes IS NOT NULL ORDER BY greatest(room.bytes, 0), room.rank LIMIT 1;
    granted := 0;
    IF pod_free IS NULL OR free < p_least THEN
        RETURN;
    END IF;
    refused_by := NULL;
    granted := greatest(p_least, least(p_wanted, free / 4));
    UPDATE app.pods SET reserved = reserved + granted WHERE id = p_pod;
    UPDATE app.quota_counters AS c SET reserved = c.reserved + granted
    WHERE c.user_id = p_user
        AND (c.metric, c.period_start) IN (('storage', storage.period_start), ('upload', upload.period_start));
    INSERT INTO app.leases (pod_id, user_id, run_id, granted, period_start, until)
    VALUES (p_pod, p_user, p_run, granted, upload.period_start, p_at + make_interval(secs => p_seconds))
    RETURNING id INTO lease_id;
END $$;

-- Give back at once what no file of a lease needs: it keeps `p_size` bytes.
CREATE OR REPLACE FUNCTION app.trim_lease(p_lease bigint, p_size bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lease app.leases;
    rest bigint;
BEGIN
    PERFORM app.act();
    SELECT * INTO STRICT lease FROM app.leases WHERE id = p_lease;
    PERFORM FROM app.pods WHERE id = lease.pod_id FOR NO KEY UPDATE;
    SELECT granted - greatest(p_size, spent) INTO rest FROM app.leases
    WHERE id = p_lease AND closed_at IS NULL FOR NO KEY UPDATE;
    IF rest > 0 THEN
        UPDATE app.leases SET granted = granted - rest WHERE id = p_lease;
        UPDATE app.pods SET reserved = reserved - rest WHERE id = lease.pod_id;
        UPDATE app.quota_counters SET reserved = reserved - rest
        WHERE user_id = lease.user_id AND metric = 'storage';
        UPDATE app.quota_counters SET reserved = reserved - rest
        WHERE user_id = lease.user_id AND metric = 'upload' AND period_start = lease.period_start;
    END IF;
END $$;

-- Book what a lease spent, give back the rest and return it (bytes); closing it again does nothing and returns 0.
CREATE OR REPLACE FUNCTION app.close_lease(p_lease bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lease app.leases;
BEGIN
    PERFORM app.act();
    PERFORM FROM app.pods WHERE id = (SELECT pod_id FROM app.leases WHERE id = p_lease) FOR NO KEY UPDATE;
    UPDATE app.leases SET closed_at = now() WHERE id = p_lease AND closed_at IS NULL RETURNING * INTO lease;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE app.pods SET used = used + lease.spent, reserved = reserved - lease.granted WHERE id = lease.pod_id;
    UPDATE app.quota_counters SET used = used + lease.spent, reserved = reserved - lease.granted
    WHERE user_id = lease.user_id AND metric = 'storage';
    UPDATE app.quota_counters SET used = used + lease.spent, reserved = reserved - lease.granted
    WHERE user_id = lease.user_id AND metric = 'upload' AND period_start = lease.period_start;
    INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
    SELECT 'lease:' || lease.id, lease.user_id, 'upload', lease.period_start, lease.spent, lease.closed_at
    WHERE lease.spent > 0;
    RETURN lease.granted - lease.spent;
END $$;

-- Close the leases that ran out by `p_at`; returns how many. A login cannot pass a future time, which would end leases
-- that are held.
CREATE OR REPLACE FUNCTION app.reap_leases(p_at timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    locked bigint[];
    expired bigint;
    reaped integer := 0;
BEGIN
    PERFORM app.act();
    IF app.actor() IS NOT NULL AND p_at > now() THEN
        RAISE EXCEPTION 'only the owner may pass a future time' USING ERRCODE = 'insufficient_privilege';
    END IF;
    locked := ARRAY(
        SELECT id FROM app.pods
        WHERE id IN (SELECT pod_id FROM app.leases WHERE closed_at IS NULL AND until <= p_at)
        ORDER BY id FOR NO KEY UPDATE
    );
    FOR expired IN
        SELECT id FROM app.leases WHERE closed_at IS NULL AND until <= p_at AND pod_id = ANY (locked)
        ORDER BY user_id, period_start, id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM app.close_lease(expired);
        reaped := reaped + 1;
    END LOOP;
    RETURN reaped;
END $$;

-- Give the bytes of purged content back to the pod and to the owner's storage; a negative size gives nothing. Logins
-- call it only through app.purge_versions.
CREATE OR REPLACE FUNCTION app.release_storage(p_pod bigint, p_user bigint, p_bytes bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    UPDATE app.pods SET used = used - p_bytes WHERE id = p_pod AND p_bytes > 0;
    UPDATE app.quota_counters SET used = used - p_bytes WHERE user_id = p_user AND metric = 'storage' AND p_bytes > 0;
END $$;
