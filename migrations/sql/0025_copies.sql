-- Copies: a content or rendition that is stored in a pod with a secondary provider is to be copied there, which is
-- written in the transaction that records it as stored. Workers find it by their sweep: a job in this transaction would
-- make all uploads into a pod wait for each other.
CREATE OR REPLACE FUNCTION app.await_copies() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM app.pods WHERE secondary_provider IS NOT NULL) THEN
        RETURN NULL;
    ELSIF TG_TABLE_NAME = 'versions' THEN
        INSERT INTO app.copies (version_id, provider)
        SELECT t.id, p.secondary_provider
        FROM touched AS t JOIN app.files AS f ON f.id = t.file_id JOIN app.pods AS p ON p.id = f.pod_id
        WHERE t.status = 'stored' AND p.secondary_provider IS NOT NULL ORDER BY t.id
        ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO app.rendition_copies (rendition_id, provider)
        SELECT t.id, p.secondary_provider
        FROM touched AS t JOIN app.files AS f ON f.id = t.file_id JOIN app.pods AS p ON p.id = f.pod_id
        WHERE p.secondary_provider IS NOT NULL ORDER BY t.id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER await_copies_insert AFTER INSERT ON app.versions
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.await_copies();
CREATE OR REPLACE TRIGGER await_copies_update AFTER UPDATE ON app.versions
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.await_copies();
CREATE OR REPLACE TRIGGER await_copies AFTER INSERT ON app.renditions
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION app.await_copies();

-- Lock a live pod to change its places; the lock also keeps its files and runs from being added meanwhile.
CREATE OR REPLACE FUNCTION app.lock_places(p_pod bigint) RETURNS app.pods
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pod app.pods;
BEGIN
    PERFORM app.act();
    PERFORM FROM app.installation FOR NO KEY UPDATE;
    SELECT * INTO pod FROM app.pods WHERE id = p_pod AND deleted_at IS NULL FOR UPDATE;
    IF pod.id IS NULL THEN
        RAISE EXCEPTION 'the pod was deleted meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN pod;
END $$;

-- Whether uploads or transcodes write into a pod whose places are locked.
CREATE OR REPLACE FUNCTION app.is_pod_in_use(p_pod bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    silent bigint[];
BEGIN
    -- Who takes over a silent run waits for this lock, or holds it.
    silent := ARRAY(SELECT id FROM app.runs WHERE pod_id = p_pod AND ended_at IS NULL FOR NO KEY UPDATE SKIP LOCKED);
    -- An attempt whose process is dead has parts at the present place, so reaping must end it there first.
    RETURN EXISTS (SELECT FROM app.leases WHERE pod_id = p_pod AND closed_at IS NULL)
        OR EXISTS (
            SELECT FROM app.runs
            WHERE pod_id = p_pod AND ended_at IS NULL
                AND (id <> ALL (silent) OR (left_at IS NULL AND heartbeat_at > now() - interval '60 seconds')))
        OR EXISTS (
            SELECT FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
            WHERE f.pod_id = p_pod AND v.stored_at IS NULL
                AND (v.upload_id IS NOT NULL OR v.status IN ('planned', 'uploading', 'completing')))
        OR EXISTS (
            SELECT FROM app.units AS u JOIN app.transcodes AS t ON t.id = u.transcode_id
            JOIN app.files AS f ON f.id = t.file_id
            WHERE f.pod_id = p_pod AND u.status = 'running' AND u.lease_until > now());
END $$;

-- Give a pod a secondary place, or with NULL take it away; what is known of the copies there is then forgotten. Refused
-- while the present place is the only one of some object, or uploads may make it that.
CREATE OR REPLACE FUNCTION app.set_secondary(p_pod bigint, p_provider text, p_bucket text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pod app.pods := app.lock_places(p_pod);
BEGIN
    IF p_provider IS NOT NULL THEN
        IF pod.secondary_provider IS NOT NULL THEN
            RAISE EXCEPTION 'the pod has a secondary provider' USING ERRCODE = 'unique_violation';
        ELSIF p_bucket !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$' THEN
            RAISE EXCEPTION '% is no name of a bucket', quote_literal(p_bucket) USING ERRCODE = 'check_violation';
        ELSIF app.pod_overlaps(p_provider, p_bucket, pod.prefix, pod.id) THEN
            RAISE EXCEPTION 'another pod overlaps the prefix %', quote_literal(pod.prefix)
                USING ERRCODE = 'exclusion_violation';
        END IF;
    ELSIF EXISTS (
        SELECT FROM app.copies AS c JOIN app.versions AS v ON v.id = c.version_id JOIN app.files AS f ON f.id = v.file_id
        WHERE f.pod_id = pod.id AND c.provider = pod.primary_provider AND c.status <> 'stored'
        UNION ALL
        SELECT FROM app.rendition_copies AS c JOIN app.renditions AS r ON r.id = c.rendition_id
        JOIN app.files AS f ON f.id = r.file_id
        WHERE f.pod_id = pod.id AND c.provider = pod.primary_provider AND c.status <> 'stored'
    ) THEN
        RAISE EXCEPTION 'the secondary provider has objects that the primary has not' USING ERRCODE = 'check_violation';
    ELSIF app.is_pod_in_use(pod.id) THEN
        RAISE EXCEPTION 'uploads or transcodes in this pod are in progress' USING ERRCODE = 'check_violation';
    ELSE
        DELETE FROM app.copies AS c USING app.versions AS v, app.files AS f
        WHERE v.id = c.version_id AND f.id = v.file_id AND f.pod_id = pod.id;
        DELETE FROM app.rendition_copies AS c USING app.renditions AS r, app.files AS f
        WHERE r.id = c.rendition_id AND f.id = r.file_id AND f.pod_id = pod.id;
        DELETE FROM app.outages WHERE pod_id = pod.id AND provider = pod.secondary_provider;
    END IF;
    UPDATE app.pods SET secondary_provider = p_provider, secondary_bucket = p_bucket, copies_during_uploads = false,
        updated_at = now()
    WHERE id = pod.id;
END $$;

-- Swap the places of a pod if every stored content and rendition is at the secondary and nothing is being written.
-- Returns how many are missing there, and whether uploads or transcodes are in progress; if either, nothing changes.
CREATE OR REPLACE FUNCTION app.promote_pod(p_pod bigint, OUT missing bigint, OUT busy boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pod app.pods := app.lock_places(p_pod);
BEGIN
    IF pod.secondary_provider IS NULL THEN
        RAISE EXCEPTION 'the pod has no secondary provider' USING ERRCODE = 'check_violation';
    END IF;
    busy := app.is_pod_in_use(pod.id);
    SELECT count(*) INTO missing FROM (
        SELECT FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
        WHERE f.pod_id = pod.id AND v.status IN ('stored', 'superseded') AND NOT EXISTS (
            SELECT FROM app.copies AS c
            WHERE c.version_id = v.id AND c.provider = pod.secondary_provider AND c.status = 'stored')
        UNION ALL
        SELECT FROM app.renditions AS r JOIN app.files AS f ON f.id = r.file_id
        WHERE f.pod_id = pod.id AND NOT EXISTS (
            SELECT FROM app.rendition_copies AS c
            WHERE c.rendition_id = r.id AND c.provider = pod.secondary_provider AND c.status = 'stored')
    ) AS absent;
    IF busy OR missing > 0 THEN
        RETURN;
    END IF;
    -- What has no row at the primary was stored there; a row says otherwise.
    INSERT INTO app.copies (version_id, provider, status, etag, checked_at)
    SELECT v.id, pod.primary_provider, 'stored', v.etag, v.stored_at
    FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
    WHERE f.pod_id = pod.id AND v.status IN ('stored', 'superseded')
    ON CONFLICT DO NOTHING;
    INSERT INTO app.rendition_copies (rendition_id, provider, status, checked_at)
    SELECT r.id, pod.primary_provider, 'stored', r.created_at
    FROM app.renditions AS r JOIN app.files AS f ON f.id = r.file_id WHERE f.pod_id = pod.id
    ON CONFLICT DO NOTHING;
    UPDATE app.pods SET primary_provider = secondary_provider, bucket = secondary_bucket,
        secondary_provider = primary_provider, secondary_bucket = bucket, updated_at = now()
    WHERE id = pod.id;
END $$;
