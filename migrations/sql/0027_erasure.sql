-- Erasing a user removes names and paths from everything that was written about them. Who did what, when and to which
-- id stays, for their own changes and for changes that others made to them; the erasure and its actor are audited as
-- well.

-- The columns of audited tables that hold names, paths or free text about the user who owns the row.
CREATE OR REPLACE FUNCTION app.personal_columns() RETURNS TABLE (table_name text, column_name text)
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    VALUES ('users', 'email'), ('users', 'name'), ('logins', 'role'), ('files', 'path'), ('files', 'error'),
        ('transcodes', 'error'), ('quota_grants', 'reason'), ('customers', 'email');
END;

-- The state of a row in the audit log, or of the first row of a set, without personal data; that there was some still
-- shows.
CREATE OR REPLACE FUNCTION app.without_personal(p_table text, p_row jsonb) RETURNS jsonb
LANGUAGE sql STABLE STRICT
BEGIN ATOMIC
    SELECT jsonb_object_agg(found.key, CASE
        WHEN found.key = 'first' AND jsonb_typeof(found.value) = 'object' THEN (
            SELECT jsonb_object_agg(
                inner_.key, CASE WHEN inner_.value <> 'null' AND EXISTS (
                    SELECT FROM app.personal_columns() AS p WHERE p.table_name = p_table AND p.column_name = inner_.key
                ) THEN '"[erased]"' ELSE inner_.value END)
            FROM jsonb_each(found.value) AS inner_)
        WHEN found.value <> 'null' AND EXISTS (
            SELECT FROM app.personal_columns() AS p WHERE p.table_name = p_table AND p.column_name = found.key
        ) THEN '"[erased]"'
        ELSE found.value END)
    FROM jsonb_each(p_row) AS found;
END;

-- What a user was and is called: first e-mail addresses, then also names and logins.
CREATE OR REPLACE FUNCTION app.names_of(p_user bigint, OUT addresses text[], OUT names text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH written AS (
        SELECT to_jsonb(u) AS state FROM app.users AS u WHERE id = p_user
        UNION ALL
        SELECT side.state FROM app.audit AS a, LATERAL (VALUES (a.before), (a.after)) AS side (state)
        WHERE a.table_name = 'users' AND a.row_id = p_user::text
    ), said AS (
        SELECT state ->> 'email' AS address, state ->> 'name' AS name FROM written
    )
    SELECT array_agg(DISTINCT address) FILTER (WHERE address <> '[erased]'),
        array_agg(DISTINCT name) FILTER (WHERE name NOT IN ('', '[erased]'))
    INTO addresses, names FROM said;
    names := ARRAY(
        SELECT unnest(addresses) UNION SELECT unnest(names)
        UNION SELECT role FROM app.logins WHERE user_id = p_user
        UNION SELECT login FROM app.audit WHERE actor_id = p_user
        UNION SELECT row_id FROM app.audit WHERE table_name = 'logins' AND p_user IN (on_behalf_of, actor_id)
    );
END $$;

-- Whether a text mentions one of these addresses: not as part of a longer address, but also after a word and a hyphen.
CREATE OR REPLACE FUNCTION app.speaks_of(p_text text, p_addresses text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT
RETURN EXISTS (
    SELECT FROM unnest(p_addresses) AS address
    WHERE strpos(lower(p_text), address) > 0 AND lower(p_text) ~ (
        '(^|[^a-z0-9.])' || regexp_replace(address, '([^a-z0-9@])', '\\\1', 'g') || '($|[^a-z0-9-])')
);

-- Whether an operation id that a client chose mentions one of these addresses, also with %40 for @ and next to digits,
-- or contains one of these names, if the name is more than one word: a single word may be part of any id.
CREATE OR REPLACE FUNCTION app.id_speaks_of(p_id text, p_addresses text[], p_names text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT
RETURN EXISTS (
    SELECT FROM unnest(p_addresses) AS address
    WHERE replace(lower(p_id), '%40', '@') ~ (
        '(^|[^a-z.])' || regexp_replace(address, '([^a-z0-9@])', '\\\1', 'g') || '($|[^a-z])')
) OR EXISTS (
    SELECT FROM unnest(p_names) AS name
    WHERE name ~ '[ _]' AND strpos(lower(p_id), lower(name)) > 0
);

-- A result without what it says about a user: in an object that contains one of the names, every text is removed except
-- times and a short list of words; elsewhere, the texts that mention one of the addresses.
CREATE OR REPLACE FUNCTION app.without_names(p_value jsonb, p_names text[], p_addresses text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    impersonal CONSTANT text[] := '{status, kind, preset, pod, plan, metric, result, kept}';
    roles CONSTANT text[] := '{superadmin, admin, enduser, service}';  -- elsewhere it names a login
    theirs boolean;
BEGIN
    CASE jsonb_typeof(p_value)
    WHEN 'string' THEN
        RETURN CASE WHEN p_value #>> '{}' = ANY (p_names) OR app.speaks_of(p_value #>> '{}', p_addresses)
                    THEN '"[erased]"' ELSE p_value END;
    WHEN 'array' THEN
        RETURN (SELECT coalesce(jsonb_agg(app.without_names(item, p_names, p_addresses) ORDER BY place), '[]')
                FROM jsonb_array_elements(p_value) WITH ORDINALITY AS each (item, place));
    WHEN 'object' THEN
        -- A user may have the same name as a pod or a status.
        theirs := EXISTS (
            SELECT FROM jsonb_each_text(p_value) AS each WHERE each.value = ANY (p_names)
                AND each.key <> ALL (impersonal) AND (each.key <> 'role' OR each.value <> ALL (roles)));
        RETURN (SELECT coalesce(jsonb_object_agg(key, CASE
                    WHEN jsonb_typeof(value) = 'string' AND (key = ANY (impersonal)
                        OR key = 'role' AND value #>> '{}' = ANY (roles))
                    THEN CASE WHEN app.speaks_of(value #>> '{}', p_addresses) THEN '"[erased]"' ELSE value END
                    WHEN theirs AND jsonb_typeof(value) = 'string' AND value #>> '{}' !~ '^\d{4}-\d\d-\d\dT[\d:.]+Z$'
                    THEN '"[erased]"' ELSE app.without_names(value, p_names, p_addresses) END), '{}')
                FROM jsonb_each(p_value));
    ELSE
        RETURN p_value;
    END CASE;
END $$;

-- Delete the bodies of Stripe's deliveries about a user; returns how many. Bodies older than the user are not read.
CREATE OR REPLACE FUNCTION app.erase_deliveries(p_user bigint, p_addresses text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz := (SELECT created_at FROM app.users WHERE id = p_user);
    ids text[] := ARRAY(
        SELECT stripe_customer_id FROM app.customers WHERE user_id = p_user
        UNION
        SELECT each.id FROM app.subscriptions AS s,
            LATERAL (VALUES (s.stripe_subscription_id), (s.stripe_customer_id)) AS each (id)
        WHERE s.user_id = p_user AND each.id IS NOT NULL
    );
    gone bigint;
BEGIN
    DELETE FROM app.stripe_payloads AS p USING app.stripe_events AS e
    WHERE e.id = p.event_id AND (
        e.object_id = ANY (ids)
        OR (e.received_at >= since AND EXISTS (
            SELECT FROM unnest(ids) AS name
            WHERE strpos(lower(encode(p.payload, 'escape')), lower(encode(convert_to(name, 'UTF8'), 'escape'))) > 0
        )) OR (e.received_at >= since AND app.speaks_of(encode(p.payload, 'escape'), ARRAY(
            SELECT lower(encode(convert_to(address, 'UTF8'), 'escape')) FROM unnest(p_addresses) AS address))));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Remove a user from what was recorded about them and by them, once their row is gone.
CREATE OR REPLACE FUNCTION app.redact_user(p_user bigint, p_addresses text[], p_names text[], p_deliveries bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known_as text := 'user ' || p_user;
    said text[] := p_addresses || ARRAY(SELECT to_json(name)::text FROM unnest(p_names) AS name);
    records bigint;
    results bigint;
BEGIN
    IF EXISTS (SELECT FROM app.users WHERE id = p_user) THEN
        RAISE EXCEPTION 'user % is not erased', p_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE app.audit AS a SET
        login = CASE WHEN actor_id = p_user THEN known_as ELSE login END,
        row_id = CASE WHEN theirs.own AND table_name = 'logins' THEN known_as ELSE row_id END,
        operation_id = CASE WHEN app.id_speaks_of(operation_id, p_addresses, p_names) THEN 'erased' ELSE operation_id END,
        before = CASE WHEN theirs.own THEN app.without_personal(table_name, before) ELSE before END,
        after = CASE WHEN theirs.own THEN app.without_personal(table_name, after) ELSE after END
    FROM (
        SELECT id, (on_behalf_of = p_user OR (on_behalf_of IS NULL AND coalesce(
            coalesce(after, before) -> 'owners' = jsonb_build_array(p_user), true))) AS own
        FROM app.audit WHERE actor_id = p_user OR on_behalf_of = p_user
    ) AS theirs
    WHERE a.id = theirs.id;
    GET DIAGNOSTICS records = ROW_COUNT;
    -- The ids that others gave to operations stay in the audit rows of those operations.
    UPDATE app.audit SET operation_id = 'erased'
    WHERE operation_id IN (SELECT id FROM app.operations WHERE app.id_speaks_of(id, p_addresses, p_names));
    UPDATE app.operations SET
        login = CASE WHEN user_id = p_user THEN known_as ELSE login END,
        id = CASE WHEN user_id = p_user OR app.id_speaks_of(id, p_addresses, p_names)
                  THEN 'erased ' || gen_random_uuid() ELSE id END,
        command = CASE WHEN app.id_speaks_of(command, p_addresses, '{}') THEN 'erased' ELSE command END,
        fingerprint = CASE WHEN app.id_speaks_of(fingerprint, p_addresses, '{}') THEN 'erased' ELSE fingerprint END,
        result = app.without_names(result, p_names, p_addresses)
    WHERE user_id = p_user OR app.id_speaks_of(concat_ws(' ', id, command, fingerprint), p_addresses, p_names)
        OR (result IS NOT NULL AND EXISTS (
        SELECT FROM unnest(said) AS text WHERE strpos(result::text, text) > 0));
    GET DIAGNOSTICS results = ROW_COUNT;
    PERFORM app.audit_change('audit', p_user::text, 'update', p_user, NULL, jsonb_build_object(
        'records', records, 'operations', results, 'deliveries', p_deliveries));
END $$;
