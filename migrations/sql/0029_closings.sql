-- Write the usage of at most `p_batch` monthly periods that ended by `p_at`; returns how many. Several callers share
-- the work. A period stays open while a lease holds some of it, because what the lease spends belongs to it. A running
-- period is never closed, so a login cannot pass a future time.
CREATE OR REPLACE FUNCTION app.close_quota_periods(p_at timestamptz, p_batch integer) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    closings integer;
BEGIN
    PERFORM app.act();
    IF app.actor() IS NOT NULL AND p_at > now() THEN
        RAISE EXCEPTION 'only the owner may pass a future time' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH ended AS (
        SELECT user_id, metric, period_start, period_end, used FROM app.quota_counters
        WHERE closed_at IS NULL AND metric <> 'storage' AND period_end <= p_at AND reserved = 0
        ORDER BY period_end LIMIT p_batch FOR NO KEY UPDATE SKIP LOCKED
    ), written AS (
        INSERT INTO app.quota_closings (user_id, metric, period_start, period_end, used, "limit", plan_id)
        SELECT ended.user_id, ended.metric, ended.period_start, ended.period_end, ended.used,
            held.allowed, held.plan_id
        FROM ended CROSS JOIN LATERAL
            app.quota_in_force(ended.user_id, ended.metric, ended.period_start, ended.period_end) AS held
    ), closed AS (
        UPDATE app.quota_counters AS counter SET closed_at = now() FROM ended
        WHERE (counter.user_id, counter.metric, counter.period_start)
            = (ended.user_id, ended.metric, ended.period_start)
        RETURNING 1
    )
    SELECT count(*) INTO closings FROM closed;
    RETURN closings;
END $$;

-- Delete at most this many entries of periods that were closed before an instant; returns how many.
CREATE OR REPLACE FUNCTION app.prune_quota_entries(p_before timestamptz, p_batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pruned bigint;
BEGIN
    PERFORM app.act();
    IF p_before > now() - interval '35 days' THEN
        RAISE EXCEPTION 'entries are kept for 35 days' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM app.quota_entries WHERE id IN (
        SELECT entry.id FROM app.quota_entries AS entry JOIN app.quota_counters AS counter
            ON (counter.user_id, counter.metric, counter.period_start)
                = (entry.user_id, entry.metric, entry.period_start)
        WHERE entry.occurred_at < p_before AND counter.closed_at < p_before
        LIMIT p_batch FOR UPDATE OF entry SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;
