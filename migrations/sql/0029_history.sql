-- What was in force when: the plan that entitled each user, the limits of each plan, and users' own limits, each from
-- `valid_from` until `valid_until` (null: still), half-open. The triggers here keep it, and closings read it.

-- A subscription that ended was in force until it ended at Stripe, even if that is learned of later.
CREATE OR REPLACE FUNCTION app.record_entitlements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    users bigint[] := ARRAY(SELECT DISTINCT user_id FROM touched);
    over app.entitlements[];
BEGIN
    -- EXECUTE plans for the number of users, which may be one or a whole import.
    EXECUTE $query$
        SELECT array_agg(e) FROM app.entitlements AS e
        WHERE e.valid_until IS NULL AND e.user_id = ANY ($1) AND NOT EXISTS (
            SELECT FROM app.subscriptions AS s
            WHERE s.user_id = e.user_id AND s.plan_id = e.plan_id AND s.ended_at IS NULL
                AND s.status IN ('active', 'trialing', 'past_due'))
    $query$ INTO over USING users;
    DELETE FROM app.entitlements AS e USING unnest(over) AS o
    WHERE e.user_id = o.user_id AND e.valid_from = o.valid_from AND e.valid_from >= now();
    UPDATE app.entitlements AS e
    SET valid_until = coalesce(
        (SELECT max(s.ended_at) FROM app.subscriptions AS s
         WHERE s.user_id = e.user_id AND s.plan_id = e.plan_id AND s.ended_at > e.valid_from AND s.ended_at < now()),
        now())
    FROM unnest(over) AS o WHERE e.user_id = o.user_id AND e.valid_from = o.valid_from;
    -- The first one began with its subscription; later ones begin when they are learned of, so that none overlap.
    EXECUTE $query$
        INSERT INTO app.entitlements (user_id, plan_id, valid_from)
        SELECT s.user_id, s.plan_id,
            CASE WHEN EXISTS (SELECT FROM app.entitlements AS e WHERE e.user_id = s.user_id) THEN now()
                 ELSE least(s.started_at, now()) END
        FROM app.subscriptions AS s
        WHERE s.user_id = ANY ($1) AND s.ended_at IS NULL AND s.status IN ('active', 'trialing', 'past_due')
            AND NOT EXISTS (SELECT FROM app.entitlements AS e WHERE e.user_id = s.user_id AND e.valid_until IS NULL)
    $query$ USING users;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER record_insert AFTER INSERT ON app.subscriptions
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_entitlements();
CREATE OR REPLACE TRIGGER record_update AFTER UPDATE ON app.subscriptions
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_entitlements();
CREATE OR REPLACE TRIGGER record_delete AFTER DELETE ON app.subscriptions
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_entitlements();

CREATE OR REPLACE FUNCTION app.record_plan_limits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH changed AS (
        SELECT t.id FROM touched AS t JOIN app.plan_limits AS l ON l.plan_id = t.id AND l.valid_until IS NULL
        WHERE (l.upload_limit, l.transcode_limit) IS DISTINCT FROM (t.upload_limit, t.transcode_limit)
    ), undone AS (
        DELETE FROM app.plan_limits AS l USING changed
        WHERE l.plan_id = changed.id AND l.valid_until IS NULL AND l.valid_from >= now()
    )
    UPDATE app.plan_limits AS l SET valid_until = now() FROM changed
    WHERE l.plan_id = changed.id AND l.valid_until IS NULL AND l.valid_from < now();
    INSERT INTO app.plan_limits (plan_id, valid_from, upload_limit, transcode_limit)
    SELECT t.id, now(), t.upload_limit, t.transcode_limit FROM touched AS t
    WHERE NOT EXISTS (SELECT FROM app.plan_limits AS l WHERE l.plan_id = t.id AND l.valid_until IS NULL);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER record_insert AFTER INSERT ON app.plans
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_plan_limits();
CREATE OR REPLACE TRIGGER record_update AFTER UPDATE ON app.plans
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_plan_limits();

CREATE OR REPLACE FUNCTION app.record_own_limits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH changed AS (
        SELECT was.user_id, was.metric FROM app.own_limits AS was
        LEFT JOIN app.quota_limits AS own USING (user_id, metric)
        WHERE was.valid_until IS NULL AND (was.user_id, was.metric) IN (SELECT user_id, metric FROM touched)
            AND (own.user_id IS NULL OR own."limit" IS DISTINCT FROM was."limit")
    ), undone AS (
        DELETE FROM app.own_limits AS l USING changed
        WHERE (l.user_id, l.metric) = (changed.user_id, changed.metric) AND l.valid_until IS NULL
            AND l.valid_from >= now()
    )
    UPDATE app.own_limits AS l SET valid_until = now() FROM changed
    WHERE (l.user_id, l.metric) = (changed.user_id, changed.metric) AND l.valid_until IS NULL AND l.valid_from < now();
    INSERT INTO app.own_limits (user_id, metric, valid_from, "limit")
    SELECT own.user_id, own.metric, now(), own."limit" FROM app.quota_limits AS own
    WHERE (own.user_id, own.metric) IN (SELECT user_id, metric FROM touched) AND NOT EXISTS (
        SELECT FROM app.own_limits AS l
        WHERE (l.user_id, l.metric) = (own.user_id, own.metric) AND l.valid_until IS NULL);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER record_insert AFTER INSERT ON app.quota_limits
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_own_limits();
CREATE OR REPLACE TRIGGER record_update AFTER UPDATE ON app.quota_limits
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_own_limits();
CREATE OR REPLACE TRIGGER record_delete AFTER DELETE ON app.quota_limits
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.record_own_limits();

-- A user's plan and limit in a period that ended: what was in force at its end, or when the last plan in it ended. A
-- period before the account of its user counts with the first plan, or without one with the first limit of their own.
CREATE OR REPLACE FUNCTION app.quota_in_force(
    p_user bigint, p_metric text, p_start timestamptz, p_end timestamptz, OUT plan_id bigint, OUT allowed bigint
)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT held.plan_id, chosen.allowed + coalesce(
        (SELECT sum(amount) FROM app.quota_grants AS extra
         WHERE extra.user_id = p_user AND extra.metric = p_metric AND extra.period_start = p_start), 0)::bigint
    FROM (SELECT p_end) AS period
    LEFT JOIN LATERAL (
        SELECT e.plan_id, least(e.valid_until, p_end) AS until FROM app.entitlements AS e
        WHERE e.user_id = p_user AND (e.valid_until IS NULL OR e.valid_until > p_start)
            AND (e.valid_from < p_end OR p_end <= (SELECT created_at FROM app.users WHERE id = p_user))
        ORDER BY e.valid_from >= p_end, abs(extract(epoch FROM e.valid_from - p_end)) LIMIT 1
    ) AS held ON true
    CROSS JOIN LATERAL (
        SELECT 1 AS rank, own."limit" AS allowed FROM app.own_limits AS own
        WHERE own.user_id = p_user AND own.metric = p_metric AND own.valid_from < coalesce(held.until, p_end)
            AND (own.valid_until IS NULL OR own.valid_until >= coalesce(held.until, p_end))
        UNION ALL
        (SELECT 2, CASE p_metric WHEN 'upload' THEN l.upload_limit ELSE l.transcode_limit END
         FROM app.plan_limits AS l WHERE l.plan_id = held.plan_id
         ORDER BY l.valid_from >= held.until, abs(extract(epoch FROM l.valid_from - held.until)) LIMIT 1)
        UNION ALL
        (SELECT 3, own."limit" FROM app.own_limits AS own
         WHERE own.user_id = p_user AND own.metric = p_metric
             AND p_end <= (SELECT created_at FROM app.users WHERE id = p_user)
         ORDER BY own.valid_from LIMIT 1)
        UNION ALL
        SELECT 4, 0
        ORDER BY rank LIMIT 1
    ) AS chosen;
END;
