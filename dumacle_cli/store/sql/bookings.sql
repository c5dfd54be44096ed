-- What uploads and moves book, with the owner's rights: nobody else writes leases and counters.

-- Keep the open leases of a run for so many seconds more.
CREATE OR REPLACE FUNCTION app.keep_leases(p_run bigint, p_seconds double precision) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.actor();
    UPDATE app.leases SET until = now() + make_interval(secs => p_seconds) WHERE run_id = p_run AND closed_at IS NULL;
END $$;

-- Book bytes in the leases they were taken from; returns those that are still open. One that was closed, because its
-- holder was silent for too long, has given its bytes back: nothing is booked.
CREATE OR REPLACE FUNCTION app.spend_leases(p_ids bigint[], p_bytes bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.actor();
    RETURN QUERY
        UPDATE app.leases AS l SET spent = l.spent + s.bytes FROM unnest(p_ids, p_bytes) AS s (id, bytes)
        WHERE l.id = s.id AND l.closed_at IS NULL RETURNING l.id;
END $$;

-- Take these bytes from their owners' storage and add them to another user's. The counters are locked by user, so that
-- two moves in opposite directions do not wait for each other.
CREATE OR REPLACE FUNCTION app.carry_storage(p_owners bigint[], p_used bigint[], p_reserved bigint[], p_user bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.actor();
    IF 0 > ANY (p_used || p_reserved) THEN
        RAISE EXCEPTION 'storage is carried in one direction' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM app.open_quota_counter(id, 'storage', now())
    FROM (SELECT DISTINCT id FROM unnest(p_owners || p_user) AS each (id) ORDER BY id) AS everybody;
    UPDATE app.quota_counters AS c SET used = c.used - gone.used, reserved = c.reserved - gone.reserved
    FROM unnest(p_owners, p_used, p_reserved) AS gone (user_id, used, reserved)
    WHERE c.user_id = gone.user_id AND c.metric = 'storage';
    UPDATE app.quota_counters AS c SET used = c.used + come.used, reserved = c.reserved + come.reserved
    FROM (SELECT coalesce(sum(used), 0) AS used, coalesce(sum(reserved), 0) AS reserved
          FROM unnest(p_used, p_reserved) AS each (used, reserved)) AS come
    WHERE c.user_id = p_user AND c.metric = 'storage';
END $$;
