-- Where objects are stored. A key is made here, in the folder of its pod, from the id of its row, which nobody chooses:
-- so no row can name an object that the program did not store for it, whoever writes the row. Only share_objects, at the
-- end of this file, lets a row name the object of another.

-- A login proposes a key: it must be in the folder of the pod and have the form that the program uses. Its token is
-- replaced by a hash of the token and the row's id, so that it cannot be aimed at an existing object; the extension
-- stays. The owner of the schema and superusers, who restore, set keys directly. This runs for each row of a bulk
-- upload.
CREATE OR REPLACE FUNCTION app.make_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folder text;
    token text;
BEGIN
    IF session_user = current_user OR current_setting('is_superuser') = 'on' THEN
        RETURN NEW;
    END IF;
    SELECT app.pod_folder(p.prefix) INTO folder
    FROM app.files AS f JOIN app.pods AS p ON p.id = f.pod_id WHERE f.id = NEW.file_id;
    IF (starts_with(NEW.key, folder)
        AND substr(NEW.key, length(folder) + 1) ~ '^[0-9a-f]{2}/[0-9a-f]{32}([.][a-z0-9]{1,8})?$') IS NOT TRUE
    THEN
        RAISE LOG 'login % named a key that is not one of the pod of file %', session_user, NEW.file_id;
        RAISE EXCEPTION 'the key is not in the pod of file %', NEW.file_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    token := encode(sha256(convert_to(NEW.id || ':' || NEW.key, 'UTF8')), 'hex');
    NEW.key := folder || left(token, 2) || '/' || left(token, 32) || substr(NEW.key, length(folder) + 36);
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER make_key BEFORE INSERT ON app.versions FOR EACH ROW EXECUTE FUNCTION app.make_key();

-- What was proven about a stored content cannot be changed.
CREATE OR REPLACE FUNCTION app.keep_proof() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.is_owner() THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'content % is stored, and its verified facts cannot change', OLD.id USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE OR REPLACE TRIGGER keep_proof BEFORE UPDATE ON app.versions FOR EACH ROW WHEN (
    OLD.stored_at IS NOT NULL AND (
        NEW.stored_at IS NULL OR NEW.size <> OLD.size OR NEW.sha256 IS DISTINCT FROM OLD.sha256
        OR NEW.md5 IS DISTINCT FROM OLD.md5 OR NEW.etag IS DISTINCT FROM OLD.etag
        OR NEW.upload_id IS DISTINCT FROM OLD.upload_id
    )
) EXECUTE FUNCTION app.keep_proof();

-- Whether a prefix overlaps that of another pod which has its primary or secondary place in this bucket.
CREATE OR REPLACE FUNCTION app.pod_overlaps(p_provider text, p_bucket text, p_prefix text, p_pod bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folder text := app.pod_folder(p_prefix);
BEGIN
    RETURN EXISTS (
        SELECT FROM app.pods AS p
        WHERE p.id IS DISTINCT FROM p_pod AND (
            (p.primary_provider = p_provider AND p.bucket = p_bucket)
            OR (p.secondary_provider = p_provider AND p.secondary_bucket = p_bucket)
        ) AND (
            app.pod_folder(p.prefix) = folder
            OR (folder <> '' AND starts_with(app.pod_folder(p.prefix), folder))
            OR (btrim(p.prefix, '/') <> '' AND starts_with(folder, app.pod_folder(p.prefix))))
    );
END $$;

-- A new pod does not overlap the others of its bucket, so that emptying the folder of one removes nothing of another.
-- A login changes the places of a pod by functions only (copies.sql).
CREATE OR REPLACE FUNCTION app.keep_pods_apart() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folder text := app.pod_folder(NEW.prefix);
BEGIN
    IF app.is_owner() THEN
        RETURN NEW;
    END IF;
    PERFORM app.actor();
    IF NEW.bucket <> '' AND NEW.bucket !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$' THEN
        RAISE EXCEPTION '% is no name of a bucket', quote_literal(NEW.bucket) USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.prefix !~ '^[A-Za-z0-9!_.*''()/-]{0,200}$' OR NEW.prefix ~ '^/|//|/$'
        OR folder ~ '(^|/)([.]{1,2}|renditions)/'
    THEN
        RAISE EXCEPTION 'no pod may have the prefix %', quote_literal(NEW.prefix) USING ERRCODE = 'check_violation';
    END IF;
    PERFORM FROM app.installation FOR NO KEY UPDATE;
    IF app.pod_overlaps(NEW.primary_provider, NEW.bucket, NEW.prefix, NEW.id) THEN
        RAISE EXCEPTION 'another pod overlaps the prefix %', quote_literal(NEW.prefix) USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER keep_pods_apart BEFORE INSERT ON app.pods FOR EACH ROW EXECUTE FUNCTION app.keep_pods_apart();

-- Let contents that are to be uploaded share stored objects, instead of being sent: each the object of a content with this
-- SHA-256 and the same size, of the same owner in the same pod, that is proven to be there. That is the present content of
-- a live file, since only those are verified, not found lost, and at the primary provider. Returns which are stored now.
CREATE OR REPLACE FUNCTION app.share_objects(p_ids bigint[], p_sha256 bytea[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids bigint[];
    sources bigint[];
BEGIN
    PERFORM app.act();
    -- The lock keeps a source from being marked for purging; what others have locked, they replace, purge or found lost.
    SELECT array_agg(found.id), array_agg(found.source) INTO ids, sources FROM (
        SELECT v.id, source.id AS source
        FROM unnest(p_ids, p_sha256) AS wanted (id, sha256)
        -- OFFSET 0 forces an index lookup for each: filtering inside would scan the index of all unfinished versions.
        CROSS JOIN LATERAL (SELECT * FROM app.versions WHERE id = wanted.id OFFSET 0) AS v
        JOIN app.files AS f ON f.id = v.file_id
        JOIN app.pods AS p ON p.id = f.pod_id
        CROSS JOIN LATERAL (
            SELECT s.id FROM app.files AS g JOIN app.versions AS s ON s.file_id = g.id AND s.id = g.version_id
            WHERE g.owner_id = f.owner_id AND g.sha256 = wanted.sha256 AND g.deleted_at IS NULL
                AND g.pod_id = f.pod_id AND g.size = v.size AND g.lost_version_id IS DISTINCT FROM g.version_id
                AND s.status = 'stored' AND NOT EXISTS (
                    SELECT FROM app.copies AS c
                    WHERE c.version_id = s.id AND c.provider = p.primary_provider AND c.status <> 'stored')
            LIMIT 1 FOR SHARE OF s SKIP LOCKED
        ) AS source
        WHERE v.status IN ('planned', 'uploading') AND v.upload_id IS NULL
    ) AS found;
    -- Another statement, to see what was committed before the lock was taken.
    RETURN QUERY
    WITH source AS (
        SELECT shared.id AS for_id, s.* FROM unnest(ids, sources) AS shared (id, source)
        JOIN app.versions AS s ON s.id = shared.source AND s.status = 'stored'
        JOIN app.files AS g ON g.id = s.file_id AND g.version_id = s.id AND g.lost_version_id IS DISTINCT FROM s.id
    ), copied AS (
        INSERT INTO app.copies (version_id, provider, status, etag, checked_at)
        SELECT source.for_id, c.provider, c.status, c.etag, c.checked_at
        FROM source JOIN app.copies AS c ON c.version_id = source.id AND c.status = 'stored'
        ORDER BY source.for_id
        ON CONFLICT DO NOTHING
    )
    UPDATE app.versions AS v
    SET status = 'stored', stored_at = now(), key = source.key, sha256 = source.sha256, md5 = source.md5,
        etag = source.etag
    FROM source WHERE v.id = source.for_id AND v.stored_at IS NULL
    RETURNING v.id;
END $$;
