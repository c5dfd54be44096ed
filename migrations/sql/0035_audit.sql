-- The audit log: triggers write it in the transaction of the change. A change that cannot be recorded does not happen.
--
-- The acting user is looked up here and not by app.actor(), which refuses disabled users, including one who has just
-- disabled themselves. `dumacle.operation` comes from the client; the login comes from PostgreSQL.

-- Write one change: the owner of the row (null: nobody), and the state before and after; an update has only the columns
-- that differ.
CREATE OR REPLACE FUNCTION app.audit_change(
    p_table text, p_row text, p_action text, p_owner bigint, p_before jsonb, p_after jsonb
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    actor bigint := (SELECT user_id FROM app.logins WHERE role = session_user);
BEGIN
    INSERT INTO app.audit (login, actor_id, on_behalf_of, operation_id, table_name, row_id, action, before, after)
    VALUES (
        session_user, actor, nullif(p_owner, actor), nullif(left(current_setting('dumacle.operation', true), 255), ''),
        p_table, p_row, p_action, app.audit_redacted(p_before), app.audit_redacted(p_after)
    );
END $$;

-- What differs between two states of a row, by column; the time of the change alone is no difference.
CREATE OR REPLACE FUNCTION app.audit_difference(p_before jsonb, p_after jsonb, OUT was jsonb, OUT became jsonb)
LANGUAGE sql STABLE STRICT
BEGIN ATOMIC
    SELECT jsonb_object_agg(b.key, b.value), jsonb_object_agg(b.key, a.value)
    FROM jsonb_each(p_before) AS b JOIN jsonb_each(p_after) AS a ON a.key = b.key
    WHERE a.value <> b.value AND b.key <> 'updated_at';
END;

-- A row without its secrets; that a secret changed still shows.
CREATE OR REPLACE FUNCTION app.audit_redacted(p_row jsonb) RETURNS jsonb
LANGUAGE sql STABLE STRICT
BEGIN ATOMIC
    SELECT jsonb_object_agg(
        key, CASE WHEN key IN ('ciphertext', 'wrapped_key') THEN '"[redacted]"'::jsonb ELSE value END
    )
    FROM jsonb_each(p_row);
END;

-- The trigger of tables whose rows change one by one. Arguments: the column that names the owner of the row ('' if it
-- has none; with `file_id` it is the owner of the file), then one or two columns of the key.
CREATE OR REPLACE FUNCTION app.audit_row() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    found jsonb := coalesce(before, after);
    owner bigint := (found ->> TG_ARGV[0])::bigint;
BEGIN
    IF TG_ARGV[0] = 'file_id' THEN
        owner := (SELECT owner_id FROM app.files WHERE id = owner);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT was, became INTO before, after FROM app.audit_difference(before, after);
        IF before IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM app.audit_change(
        TG_TABLE_NAME, concat_ws(':', found ->> TG_ARGV[1], found ->> TG_ARGV[2]), lower(TG_OP), owner, before, after
    );
    RETURN NULL;
END $$;

-- Write one change of a set of rows, by their ids in order: count, ids (at most 1,000), owners (at most 100); for an
-- update also every column that differs in any row, and how the first row differs.
CREATE OR REPLACE FUNCTION app.audit_set(
    p_table text, p_action text, p_ids bigint[], p_owners bigint[], p_columns text[], p_before jsonb, p_after jsonb
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner bigint := CASE WHEN cardinality(p_owners) = 1 THEN p_owners[1] END;
    summary jsonb := jsonb_build_object(
        'count', cardinality(p_ids), 'ids', to_jsonb(p_ids[:1000]), 'owners', to_jsonb(p_owners[:100])
    );
BEGIN
    IF p_action = 'update' THEN
        SELECT was, became INTO p_before, p_after FROM app.audit_difference(p_before, p_after);
    END IF;
    IF cardinality(p_owners) > 1 THEN
        -- If a set had several owners, no single one of them could be erased.
        p_before := p_before - ARRAY['path', 'error'];
        p_after := p_after - ARRAY['path', 'error'];
    END IF;
    IF cardinality(p_ids) = 1 THEN
        PERFORM app.audit_change(p_table, p_ids[1]::text, p_action, owner, p_before, p_after);
        RETURN;
    END IF;
    IF p_action = 'update' THEN
        p_before := jsonb_build_object('first', p_before);
        p_after := summary || jsonb_build_object('columns', p_columns, 'first', p_after);
    ELSE
        p_before := CASE WHEN p_before IS NOT NULL THEN summary END;
        p_after := CASE WHEN p_after IS NOT NULL THEN summary END;
    END IF;
    PERFORM app.audit_change(
        p_table, p_ids[1] || '..' || p_ids[cardinality(p_ids)], p_action, owner, p_before, p_after
    );
END $$;

-- The trigger of INSERT and DELETE on tables that change in sets: one audit row per statement.
CREATE OR REPLACE FUNCTION app.audit_touched() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    ids bigint[];
    owners bigint[];
    first jsonb;
BEGIN
    IF TG_TABLE_NAME = 'files' THEN
        SELECT array_agg(id ORDER BY id), array_agg(DISTINCT owner_id) INTO ids, owners FROM touched;
    ELSE
        SELECT array_agg(t.id ORDER BY t.id), array_agg(DISTINCT (SELECT owner_id FROM app.files WHERE id = t.file_id))
        INTO ids, owners FROM touched AS t;
    END IF;
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT to_jsonb(t) INTO first FROM touched AS t WHERE id = ids[1];
    PERFORM app.audit_set(
        TG_TABLE_NAME, lower(TG_OP), ids, owners, NULL,
        CASE WHEN TG_OP = 'DELETE' THEN first END, CASE WHEN TG_OP = 'INSERT' THEN first END
    );
    RETURN NULL;
END $$;

-- The trigger of UPDATE on files: one audit row per statement, for changes of owner, place, content or existence. The
-- progress of an upload is not audited, nor is the content that it ends with if there was none before. Nested loops are
-- off because a plan made for a statement of one row is kept for one of thousands.
CREATE OR REPLACE FUNCTION app.audit_files() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    SET enable_nestloop = off AS $$
DECLARE
    ids bigint[];
    owners bigint[];
    columns text[];
    before jsonb;
    after jsonb;
BEGIN
    SELECT array_agg(was.id ORDER BY was.id), array_agg(DISTINCT was.owner_id), array_remove(ARRAY[
        CASE WHEN bool_or(is_.owner_id <> was.owner_id) THEN 'owner_id' END,
        CASE WHEN bool_or(is_.pod_id <> was.pod_id) THEN 'pod_id' END,
        CASE WHEN bool_or(is_.path <> was.path) THEN 'path' END,
        CASE WHEN bool_or(is_.deleted_at IS DISTINCT FROM was.deleted_at) THEN 'deleted_at' END,
        CASE WHEN bool_or(is_.purging_at IS DISTINCT FROM was.purging_at) THEN 'purging_at' END,
        CASE WHEN bool_or(is_.version_id IS DISTINCT FROM was.version_id) THEN 'version_id' END,
        CASE WHEN bool_or(is_.sha256 IS DISTINCT FROM was.sha256) THEN 'sha256' END
    ], NULL)
    INTO ids, owners, columns
    FROM gone AS was JOIN touched AS is_ ON is_.id = was.id
    WHERE is_.owner_id <> was.owner_id OR is_.pod_id <> was.pod_id OR is_.path <> was.path
        OR is_.deleted_at IS DISTINCT FROM was.deleted_at OR is_.purging_at IS DISTINCT FROM was.purging_at
        OR (was.version_id IS NOT NULL AND is_.version_id IS DISTINCT FROM was.version_id)
        OR (was.sha256 IS NOT NULL AND is_.sha256 IS DISTINCT FROM was.sha256);
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT to_jsonb(t) INTO before FROM gone AS t WHERE id = ids[1];
    SELECT to_jsonb(t) INTO after FROM touched AS t WHERE id = ids[1];
    PERFORM app.audit_set('files', 'update', ids, owners, columns, before, after);
    RETURN NULL;
END $$;

-- The trigger of UPDATE on versions: one audit row per statement, for changes of status and of the proven facts about
-- the content. Nested loops are off as above; the owner is a subquery, so that no plan reads all files.
CREATE OR REPLACE FUNCTION app.audit_versions() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
    SET enable_nestloop = off AS $$
DECLARE
    ids bigint[];
    owners bigint[];
    columns text[];
    before jsonb;
    after jsonb;
BEGIN
    SELECT array_agg(was.id ORDER BY was.id),
        array_agg(DISTINCT (SELECT owner_id FROM app.files WHERE id = was.file_id)), array_remove(ARRAY[
        CASE WHEN bool_or(is_.file_id <> was.file_id) THEN 'file_id' END,
        CASE WHEN bool_or(is_.key <> was.key) THEN 'key' END,
        CASE WHEN bool_or(is_.status <> was.status) THEN 'status' END,
        CASE WHEN bool_or(is_.size <> was.size) THEN 'size' END,
        CASE WHEN bool_or(is_.sha256 IS DISTINCT FROM was.sha256) THEN 'sha256' END,
        CASE WHEN bool_or(is_.md5 IS DISTINCT FROM was.md5) THEN 'md5' END,
        CASE WHEN bool_or(is_.etag IS DISTINCT FROM was.etag) THEN 'etag' END,
        CASE WHEN bool_or(is_.upload_id IS DISTINCT FROM was.upload_id) THEN 'upload_id' END
    ], NULL)
    INTO ids, owners, columns
    FROM gone AS was JOIN touched AS is_ ON is_.id = was.id
    WHERE is_.file_id <> was.file_id OR is_.key <> was.key OR is_.status <> was.status OR is_.size <> was.size
        OR is_.sha256 IS DISTINCT FROM was.sha256 OR is_.md5 IS DISTINCT FROM was.md5
        OR is_.etag IS DISTINCT FROM was.etag OR is_.upload_id IS DISTINCT FROM was.upload_id;
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT to_jsonb(t) INTO before FROM gone AS t WHERE id = ids[1];
    SELECT to_jsonb(t) INTO after FROM touched AS t WHERE id = ids[1];
    PERFORM app.audit_set('versions', 'update', ids, owners, columns, before, after);
    RETURN NULL;
END $$;

-- The audit rows of one row, including sets that contain it, or may: of more than 1,000 only the first and last are
-- known. SECURITY DEFINER, because no range operator is leakproof, so under row-level security no index would serve it.
CREATE OR REPLACE FUNCTION app.audit_of(p_table text, p_row text) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.require_superadmin();
    RETURN QUERY SELECT id FROM app.audit WHERE table_name = p_table AND row_id = p_row;
    IF p_row ~ '^[0-9]{1,18}$' THEN
        RETURN QUERY
        SELECT id FROM app.audit
        WHERE table_name = p_table AND row_id ~ '^[0-9]+[.][.][0-9]+$'
            AND int8range(split_part(row_id, '..', 1)::bigint, split_part(row_id, '..', 2)::bigint, '[]')
                @> p_row::bigint
            AND ((coalesce(after, before) -> 'count')::integer > 1000
                OR coalesce(after, before) -> 'ids' @> to_jsonb(p_row::bigint));
    END IF;
END $$;

-- Operations are kept for thirty days: no login deletes one, and a repeat of an older one is a new operation.
CREATE OR REPLACE FUNCTION app.old_operations() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FROM app.operations WHERE created_at < now() - interval '30 days';
END;

-- Delete at most `p_batch` of them, in parallel with other callers; returns how many.
CREATE OR REPLACE FUNCTION app.prune_operations(p_batch integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pruned bigint;
BEGIN
    PERFORM app.actor();
    DELETE FROM app.operations WHERE (id, user_id) IN (
        SELECT id, user_id FROM app.operations WHERE created_at < now() - interval '30 days'
        ORDER BY created_at LIMIT p_batch FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;

-- An enduser may record ten thousand operations with 64 MiB of results until they are pruned: a login can write them
-- without the program, and all users share the disk.
CREATE OR REPLACE FUNCTION app.bound_operations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    mine record;
BEGIN
    IF app.sees_all() THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NOT EXISTS (
            SELECT FROM gone AS o JOIN touched AS n USING (id, user_id) WHERE o.result IS DISTINCT FROM n.result
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    -- One after the other: each would miss what another is about to commit.
    PERFORM FROM app.users WHERE id = app.actor() FOR NO KEY UPDATE;
    SELECT count(*) AS number, sum(octet_length(o.id) + coalesce(pg_column_size(o.result), 0)) AS bytes INTO mine
    FROM app.operations AS o WHERE o.user_id = app.actor();
    IF mine.number > 10000 OR mine.bytes > 64 * 1024 * 1024 THEN
        RAISE EXCEPTION 'this user has reached the limit of recorded operations'
            USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER bound AFTER INSERT ON app.operations
    FOR EACH STATEMENT EXECUTE FUNCTION app.bound_operations();
CREATE OR REPLACE TRIGGER bound_update AFTER UPDATE ON app.operations
    REFERENCING OLD TABLE AS gone NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.bound_operations();

-- An enduser may make ten thousand changes a day, because nobody may delete audit rows.
CREATE OR REPLACE FUNCTION app.bound_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    enduser bigint := (
        SELECT u.id FROM app.logins AS l JOIN app.users AS u ON u.id = l.user_id
        WHERE l.role = session_user AND u.role = 'enduser'
    );
BEGIN
    IF enduser IS NOT NULL AND EXISTS (
        SELECT FROM app.audit WHERE actor_id = enduser AND at > now() - interval '1 day' OFFSET 10000
    ) THEN
        RAISE EXCEPTION 'this user made as many changes in a day as are recorded'
            USING ERRCODE = 'configuration_limit_exceeded';
    END IF;
    RETURN NULL;
END $$;
-- Counting takes a while, and a few more or less do not matter.
CREATE OR REPLACE TRIGGER bound AFTER INSERT ON app.audit
    FOR EACH ROW WHEN (NEW.id % 100 = 0) EXECUTE FUNCTION app.bound_audit();

-- The tables that no trigger audits, each with the reason. A table that is neither here nor audited fails a test.
CREATE OR REPLACE FUNCTION app.audit_exceptions() RETURNS TABLE (table_name text, reason text)
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
    VALUES
        ('acting', 'machine state: the role of a transaction, until it ends'),
        ('audit', 'it is the audit log; nobody may change it'),
        ('copies', 'machine state: where the bytes of a version are, checked again at the providers'),
        ('entitlements', 'a history of its own: the changes of subscriptions are audited'),
        ('findings', 'machine state: what is wrong with billing, until it is put right'),
        ('hook_calls', 'machine state: which ended transcodes the hook is still to be told of'),
        ('leases', 'machine state: capacity that a run holds for minutes'),
        ('operations', 'a log of its own: each mutation with its login'),
        ('outages', 'machine state: a provider of a pod that did not answer, until it does'),
        ('own_limits', 'a history of its own: the changes of quota_limits are audited'),
        ('parts', 'machine state: what a store took of a multipart upload, until that is complete'),
        ('pauses', 'machine state: a pod whose store is away for transcodes, until it answers'),
        ('plan_limits', 'a history of its own: the changes of plans are audited'),
        ('quota_closings', 'a ledger of its own: written once a period'),
        ('quota_counters', 'a ledger of its own: the checks recompute it from the rows'),
        ('quota_entries', 'a ledger of its own: one row per consumption, by its idempotency key'),
        ('rendition_copies', 'machine state: where the bytes of a rendition are, checked again at the providers'),
        ('runs', 'machine state: a bulk command and its heartbeat; its changes of files are audited'),
        ('schema_version', 'only the owner changes it, with the schema'),
        ('stripe_events', 'machine state: what Stripe delivered; its effects are audited'),
        ('stripe_objects', 'machine state: what is to be fetched from Stripe'),
        ('stripe_payloads', 'machine state: what Stripe delivered, word for word'),
        ('workers', 'machine state: which workers are alive'),
        ('webhook_secrets', 'machine state: which secrets the listeners know, and when each signed last'),
        ('units', 'machine state: work under a lease; the transcode and its renditions are audited');
END;

CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('id', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.logins
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'role');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.installation
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.pod_grants
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'pod_id', 'user_id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.probes
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'pod_id', 'provider');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.provider_defaults
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'provider');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.credentials
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.plans
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.plan_prices
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'price_id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.presets
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'hash');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.billing_accounts
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.customers
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'user_id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.subscriptions
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'id');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.quota_anchors
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'user_id', 'effective_from');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.quota_limits
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'user_id', 'metric');
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.quota_grants
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('user_id', 'id');

-- The bytes in a pod are counted at every lease: that is no change of the pod.
CREATE OR REPLACE TRIGGER audit AFTER INSERT OR DELETE OR UPDATE OF
    id, name, capacity, primary_provider, secondary_provider, bucket, secondary_bucket, copies_during_uploads, prefix,
    use_custom_s3, use_custom_wasabi, use_custom_oracle, allowed_types, max_file_size, created_at, deleted_at ON app.pods
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('', 'id');

CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON app.files
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_delete AFTER DELETE ON app.files
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON app.files
    REFERENCING OLD TABLE AS gone NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_files();

CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON app.versions
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_delete AFTER DELETE ON app.versions
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON app.versions
    REFERENCING OLD TABLE AS gone NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_versions();

-- The steps of a transcode on workers are machine state; how it ended, and what users did to it, is audited.
CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON app.transcodes
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_delete AFTER DELETE ON app.transcodes
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON app.transcodes
    FOR EACH ROW WHEN (
        NEW.id <> OLD.id OR NEW.file_id <> OLD.file_id OR NEW.version_id <> OLD.version_id
        OR NEW.preset <> OLD.preset OR NEW.priority <> OLD.priority
        OR (NEW.status <> OLD.status AND (
            NEW.status IN ('done', 'failed', 'cancelled', 'quarantined')
            OR OLD.status IN ('done', 'failed', 'cancelled', 'quarantined')
        ))
    ) EXECUTE FUNCTION app.audit_row('file_id', 'id');

CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON app.renditions
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_delete AFTER DELETE ON app.renditions
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.audit_touched();
CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON app.renditions
    FOR EACH ROW EXECUTE FUNCTION app.audit_row('file_id', 'id');
