-- What uploads, moves and purges book, with the rights of the owner: no login writes leases and counters itself.

-- Keep the open leases of a run for this many more seconds.
CREATE OR REPLACE FUNCTION app.keep_leases(p_run bigint, p_seconds double precision) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    IF p_seconds NOT BETWEEN 0 AND 86400 THEN
        RAISE EXCEPTION 'a lease is renewed for 0 to 86400 seconds' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE app.leases SET until = now() + make_interval(secs => p_seconds) WHERE run_id = p_run AND closed_at IS NULL;
END $$;

-- Book bytes in the leases they were taken from; returns the leases that are still open. A lease that was closed
-- because its holder was silent for too long has given its bytes back: nothing is booked in it.
CREATE OR REPLACE FUNCTION app.spend_leases(p_ids bigint[], p_bytes bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    IF 0 > ANY (p_bytes) THEN
        RAISE EXCEPTION 'spent bytes cannot be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
        UPDATE app.leases AS l SET spent = l.spent + s.bytes FROM unnest(p_ids, p_bytes) AS s (id, bytes)
        WHERE l.id = s.id AND l.closed_at IS NULL RETURNING l.id;
END $$;

-- Move these bytes from their owners' storage to another user's. The counters are locked in the order of user ids, so
-- that two moves in opposite directions do not deadlock.
CREATE OR REPLACE FUNCTION app.carry_storage(p_owners bigint[], p_used bigint[], p_reserved bigint[], p_user bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    IF 0 > ANY (p_used || p_reserved) THEN
        RAISE EXCEPTION 'moved bytes cannot be negative' USING ERRCODE = 'invalid_parameter_value';
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

-- Delete contents that are marked for purging, with everything that was made of them, and give their storage back. It
-- is the only way for a login to delete these rows or give storage back, so counters always match the rows. Work in
-- progress on them is cancelled, which gives back what it holds.
CREATE OR REPLACE FUNCTION app.purge_versions(
    p_ids bigint[], OUT versions bigint, OUT renditions bigint, OUT bytes bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    marked bigint[];
BEGIN
    PERFORM app.act();
    PERFORM app.lock_pods(ARRAY(
        SELECT f.pod_id FROM app.files AS f JOIN app.versions AS v ON v.file_id = f.id WHERE v.id = ANY (p_ids)
    ));
    PERFORM FROM app.files WHERE id IN (SELECT file_id FROM app.versions WHERE id = ANY (p_ids))
    ORDER BY id FOR NO KEY UPDATE;
    marked := ARRAY(SELECT id FROM app.versions WHERE id = ANY (p_ids) AND status = 'purging' ORDER BY id FOR UPDATE);
    PERFORM app.cancel_unit(u.id) FROM app.units AS u JOIN app.transcodes AS t ON t.id = u.transcode_id
    WHERE t.version_id = ANY (marked) AND u.status IN ('queued', 'running');
    WITH made AS (
        DELETE FROM app.renditions AS r USING app.transcodes AS t
        WHERE t.id = r.transcode_id AND t.version_id = ANY (marked) RETURNING r.file_id, r.size
    ), work AS (
        DELETE FROM app.transcodes WHERE version_id = ANY (marked)
    ), contents AS (
        DELETE FROM app.versions WHERE id = ANY (marked)
        RETURNING file_id, CASE WHEN stored_at IS NULL THEN 0 ELSE size END
    ), freed AS (
        SELECT f.pod_id, f.owner_id, sum(gone.size)::bigint AS size
        FROM (TABLE made UNION ALL TABLE contents) AS gone JOIN app.files AS f ON f.id = gone.file_id
        GROUP BY f.pod_id, f.owner_id ORDER BY f.owner_id, f.pod_id
    )
    SELECT (SELECT count(*) FROM contents), (SELECT count(*) FROM made), coalesce(sum(freed.size), 0)
    INTO versions, renditions, bytes
    FROM freed CROSS JOIN LATERAL app.release_storage(freed.pod_id, freed.owner_id, freed.size);
END $$;

-- Delete at most this many files that are marked for purging and have no content left; returns how many.
CREATE OR REPLACE FUNCTION app.purge_files(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    empty bigint[];
BEGIN
    PERFORM app.act();
    empty := ARRAY(
        SELECT id FROM app.files AS f
        WHERE purging_at IS NOT NULL AND NOT EXISTS (SELECT FROM app.versions AS v WHERE v.file_id = f.id)
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
    DELETE FROM app.files WHERE id = ANY (empty);
    RETURN cardinality(empty);
END $$;
