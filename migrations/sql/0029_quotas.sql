-- Quota periods are computed, not written: window n of an anchor is
-- [anchor + n months, anchor + (n + 1) months) in UTC, half-open, clamped at month ends, counted from the anchor each time.

-- The number of the window that holds the instant; negative before the anchor.
CREATE OR REPLACE FUNCTION app.quota_period_number(p_anchor timestamptz, p_at timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT months - CASE WHEN anchor + make_interval(months => months) > moment THEN 1 ELSE 0 END
    FROM (
        SELECT anchor, moment,
            ((extract(year FROM moment) - extract(year FROM anchor)) * 12
                + extract(month FROM moment) - extract(month FROM anchor))::integer AS months
        FROM (SELECT p_anchor AT TIME ZONE 'UTC' AS anchor, p_at AT TIME ZONE 'UTC' AS moment) AS utc
    ) AS calendar
);

-- When the window that holds the instant begins.
CREATE OR REPLACE FUNCTION app.quota_period_start(p_anchor timestamptz, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    p_anchor AT TIME ZONE 'UTC' + make_interval(months => app.quota_period_number(p_anchor, p_at))
) AT TIME ZONE 'UTC';

-- When the window that holds the instant ends, which is when the next begins.
CREATE OR REPLACE FUNCTION app.quota_period_end(p_anchor timestamptz, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    p_anchor AT TIME ZONE 'UTC' + make_interval(months => app.quota_period_number(p_anchor, p_at) + 1)
) AT TIME ZONE 'UTC';

-- The anchor in force for a user at an instant; without one, calendar months.
CREATE OR REPLACE FUNCTION app.quota_anchor(p_user bigint, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce(
    (SELECT anchor FROM app.quota_anchors
     WHERE user_id = p_user AND effective_from <= p_at ORDER BY effective_from DESC LIMIT 1),
    timestamptz '1970-01-01 00:00:00+00'
);

-- A user's period of a metric at an instant: the anchor's window, cut where another anchor takes over.
-- Storage is a level and has one period, from the epoch on.
CREATE OR REPLACE FUNCTION app.quota_window(
    p_user bigint, p_metric text, p_at timestamptz, OUT period_start timestamptz, OUT period_end timestamptz
)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        CASE WHEN p_metric = 'storage' THEN timestamptz '1970-01-01 00:00:00+00'
             ELSE greatest(app.quota_period_start(anchor, p_at), since) END,
        CASE WHEN p_metric <> 'storage' THEN least(app.quota_period_end(anchor, p_at), until) END
    FROM (
        SELECT app.quota_anchor(p_user, p_at) AS anchor,
            (SELECT max(effective_from) FROM app.quota_anchors
             WHERE user_id = p_user AND effective_from <= p_at) AS since,
            (SELECT min(effective_from) FROM app.quota_anchors
             WHERE user_id = p_user AND effective_from > p_at) AS until
    ) AS placed;
END;

-- Whether the period that a new anchor begins goes on where the one it cuts ended, so that moving the anchor is no reset:
-- neither the old anchor nor the new one has a period that begins there.
CREATE OR REPLACE FUNCTION app.quota_goes_on(p_old timestamptz, p_new timestamptz, p_at timestamptz) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN app.quota_period_start(p_new, p_at) < p_at AND app.quota_period_start(p_old, p_at) < p_at;

-- A new anchor ends the period that it falls into, so that closing finds it by its end. What was granted for that
-- period is granted for the next one, too, if its usage carries on. What it took over itself is written down, because
-- the next one takes over what is written.
CREATE OR REPLACE FUNCTION app.cut_quota_periods() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before timestamptz := NEW.effective_from - interval '1 microsecond';
BEGIN
    IF EXISTS (SELECT FROM app.quota_counters
               WHERE user_id = NEW.user_id AND metric <> 'storage' AND period_start > NEW.effective_from) THEN
        RAISE EXCEPTION 'a quota period after % was used already', NEW.effective_from USING ERRCODE = 'check_violation';
    END IF;
    UPDATE app.quota_counters
    SET period_end = CASE WHEN period_start < NEW.effective_from THEN NEW.effective_from
                          ELSE app.quota_period_end(NEW.anchor, NEW.effective_from) END
    WHERE user_id = NEW.user_id AND metric <> 'storage' AND closed_at IS NULL
        AND period_start <= NEW.effective_from AND period_end > NEW.effective_from;
    PERFORM app.open_quota_counter(NEW.user_id, metric, before)
    FROM unnest(ARRAY['upload', 'transcode']) AS metric
    CROSS JOIN LATERAL app.quota_window(NEW.user_id, metric, before) AS cut
    WHERE app.quota_inherited(NEW.user_id, metric, cut.period_start) > 0;
    INSERT INTO app.quota_grants (user_id, metric, period_start, amount, reason)
    SELECT extra.user_id, extra.metric, NEW.effective_from, extra.amount, extra.reason
    FROM app.quota_grants AS extra
    WHERE extra.user_id = NEW.user_id
        AND extra.period_start = (app.quota_window(NEW.user_id, extra.metric, before)).period_start
        AND app.quota_goes_on(app.quota_anchor(NEW.user_id, before), NEW.anchor, NEW.effective_from);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER cut_quota_periods AFTER INSERT ON app.quota_anchors
FOR EACH ROW EXECUTE FUNCTION app.cut_quota_periods();

-- What a short first period takes over from the one that its anchor cut, so that moving the anchor is no reset.
CREATE OR REPLACE FUNCTION app.quota_inherited(p_user bigint, p_metric text, p_start timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce(
    (SELECT cut.used
     FROM app.quota_anchors AS new
     JOIN app.quota_counters AS cut ON cut.user_id = new.user_id AND cut.metric = p_metric AND cut.period_end = p_start
     WHERE new.user_id = p_user AND new.effective_from = p_start
         AND app.quota_goes_on(app.quota_anchor(p_user, cut.period_start), new.anchor, p_start)),
    0
);

-- A user's limit of a metric at an instant, null for unlimited: his own, else that of the plan he is entitled to,
-- else nothing; and what was granted on top for the period.
CREATE OR REPLACE FUNCTION app.quota_limit(p_user bigint, p_metric text, p_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN (
    SELECT allowed + coalesce(
        (SELECT sum(amount) FROM app.quota_grants AS extra
         WHERE extra.user_id = p_user AND extra.metric = p_metric
             AND extra.period_start = (app.quota_window(p_user, p_metric, p_at)).period_start), 0)::bigint
    FROM (
        SELECT 1 AS rank, own."limit" AS allowed
        FROM app.quota_limits AS own WHERE own.user_id = p_user AND own.metric = p_metric
        UNION ALL
        SELECT 2, CASE p_metric WHEN 'storage' THEN plans.storage_limit
                                WHEN 'upload' THEN plans.upload_limit
                                ELSE plans.transcode_limit END
        FROM app.subscriptions JOIN app.plans ON plans.id = subscriptions.plan_id
        WHERE subscriptions.user_id = p_user AND subscriptions.ended_at IS NULL
            AND subscriptions.status IN ('active', 'trialing', 'past_due')
        UNION ALL
        SELECT 3, 0
        ORDER BY rank LIMIT 1
    ) AS chosen
);

-- How a quota stands at an instant: the one place that says what is used.
CREATE OR REPLACE FUNCTION app.quota_usage(
    p_user bigint, p_metric text, p_at timestamptz,
    OUT period_start timestamptz, OUT period_end timestamptz, OUT used bigint, OUT reserved bigint, OUT allowed bigint
)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT period.period_start, period.period_end,
        coalesce(counter.used, app.quota_inherited(p_user, p_metric, period.period_start)),
        coalesce(counter.reserved, 0), app.quota_limit(p_user, p_metric, p_at)
    FROM app.quota_window(p_user, p_metric, p_at) AS period
    LEFT JOIN app.quota_counters AS counter
        ON counter.user_id = p_user AND counter.metric = p_metric AND counter.period_start = period.period_start;
END;

-- The locked counter of a user's period, made when it is first used. What comes after its period was closed belongs
-- to the period in force now: a closing is never rewritten.
CREATE OR REPLACE FUNCTION app.open_quota_counter(p_user bigint, p_metric text, p_at timestamptz)
RETURNS app.quota_counters
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    period record;
    counter app.quota_counters;
BEGIN
    SELECT * INTO period FROM app.quota_window(p_user, p_metric, p_at);
    SELECT * INTO counter FROM app.quota_counters AS c
    WHERE c.user_id = p_user AND c.metric = p_metric AND c.period_start = period.period_start FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        WITH opened AS (
            INSERT INTO app.quota_counters (user_id, metric, period_start, period_end, used)
            VALUES (p_user, p_metric, period.period_start, period.period_end,
                    app.quota_inherited(p_user, p_metric, period.period_start))
            ON CONFLICT DO NOTHING RETURNING *
        )
        INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
        SELECT format('inherited:%s:%s:%s', o.user_id, o.metric, extract(epoch FROM o.period_start)),
            o.user_id, o.metric, o.period_start, o.used, o.period_start
        FROM opened AS o WHERE o.used > 0;
        SELECT * INTO STRICT counter FROM app.quota_counters AS c
        WHERE c.user_id = p_user AND c.metric = p_metric AND c.period_start = period.period_start FOR NO KEY UPDATE;
    END IF;
    IF counter.closed_at IS NOT NULL THEN
        RETURN app.open_quota_counter(p_user, p_metric, greatest(now(), counter.period_end));
    END IF;
    RETURN counter;
END $$;

-- Consume `p_delta` of a quota once per key, or refuse it; says what is used after it, and what is allowed.
CREATE OR REPLACE FUNCTION app.consume_quota(
    p_key text, p_user bigint, p_metric text, p_delta bigint, p_at timestamptz,
    OUT accepted boolean, OUT in_use bigint, OUT allowed bigint
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counter app.quota_counters := app.open_quota_counter(p_user, p_metric, p_at);
BEGIN
    allowed := app.quota_limit(p_user, p_metric, greatest(p_at, counter.period_start));
    in_use := counter.used + counter.reserved;
    accepted := EXISTS (SELECT FROM app.quota_entries WHERE id = p_key);
    IF accepted OR (p_delta > 0 AND in_use + p_delta > allowed) THEN
        RETURN;
    END IF;
    INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at)
    VALUES (p_key, p_user, p_metric, counter.period_start, p_delta, p_at) ON CONFLICT DO NOTHING;
    accepted := true;
    IF FOUND THEN
        UPDATE app.quota_counters AS c SET used = c.used + p_delta
        WHERE c.user_id = p_user AND c.metric = p_metric AND c.period_start = counter.period_start;
        in_use := in_use + p_delta;
    END IF;
END $$;

-- Correct what a user used of a monthly quota in the present period, once per key, and keep the reason in the ledger;
-- a negative amount gives back. Usage cannot become negative.
CREATE OR REPLACE FUNCTION app.adjust_quota(
    p_key text, p_user bigint, p_metric text, p_delta bigint, p_reason text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counter app.quota_counters;
BEGIN
    PERFORM app.act();
    IF p_metric NOT IN ('upload', 'transcode') THEN
        RAISE EXCEPTION 'only monthly usage can be adjusted' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    counter := app.open_quota_counter(p_user, p_metric, now());
    IF counter.used + p_delta < 0 THEN
        RAISE EXCEPTION 'less was used than is given back' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO app.quota_entries (id, user_id, metric, period_start, delta, occurred_at, reason)
    VALUES (p_key, p_user, p_metric, counter.period_start, p_delta, now(), p_reason);
    UPDATE app.quota_counters AS c SET used = c.used + p_delta
    WHERE c.user_id = p_user AND c.metric = p_metric AND c.period_start = counter.period_start;
    RETURN counter.used + p_delta;
END $$;
