-- Units of work. A worker that holds a unit's token may renew, charge, reserve and publish; every function here
-- compares the token under a lock. Locks are taken in this order, also by leases, purges and deletions: pod, file,
-- transcode, unit, counters of the owner with storage before transcode.

-- Lock pods before their files are locked for work on them. An enduser locks none, because all users share them: if two
-- transactions then deadlock, PostgreSQL ends one, which is retried.
CREATE OR REPLACE FUNCTION app.lock_pods(p_pods bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF app.sees_all() THEN
        PERFORM FROM app.pods AS p WHERE p.id = ANY (p_pods) ORDER BY p.id FOR NO KEY UPDATE;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION app.lock_unit(p_unit bigint) RETURNS app.units
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units;
    file bigint;
    place bigint;
BEGIN
    SELECT * INTO unit FROM app.units WHERE id = p_unit;
    SELECT f.id, f.pod_id INTO file, place
    FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id;
    PERFORM FROM app.pods WHERE id = place FOR NO KEY UPDATE;
    PERFORM FROM app.files WHERE id = file FOR SHARE;
    PERFORM FROM app.transcodes WHERE id = unit.transcode_id FOR NO KEY UPDATE;
    SELECT * INTO unit FROM app.units WHERE id = p_unit FOR NO KEY UPDATE;
    RETURN unit;
END $$;

-- The same if the unit runs under this token, and nulls if it does not.
CREATE OR REPLACE FUNCTION app.lock_held_unit(p_unit bigint, p_token uuid) RETURNS app.units
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_unit(p_unit);
BEGIN
    IF unit.status = 'running' AND unit.lease_token = p_token THEN
        RETURN unit;
    END IF;
    RETURN NULL;
END $$;

-- Give back what an attempt reserved, and what it was charged if that period is still open.
CREATE OR REPLACE FUNCTION app.settle_unit(p_unit app.units) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    file app.files;
    charged app.quota_entries;
BEGIN
    SELECT f.* INTO file FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = p_unit.transcode_id;
    UPDATE app.pods SET reserved = reserved - p_unit.reserved WHERE id = file.pod_id AND p_unit.reserved > 0;
    UPDATE app.quota_counters SET reserved = reserved - p_unit.reserved
    WHERE user_id = file.owner_id AND metric = 'storage' AND p_unit.reserved > 0;
    UPDATE app.units SET reserved = 0 WHERE id = p_unit.id;
    SELECT entry.* INTO charged FROM app.quota_entries AS entry
    JOIN app.quota_counters AS counter USING (user_id, metric, period_start)
    WHERE entry.id = format('transcode:%s:%s', p_unit.id, p_unit.lease_token) AND counter.closed_at IS NULL;
    IF FOUND THEN
        PERFORM app.consume_quota(charged.id || ':refund', charged.user_id, 'transcode', -charged.delta, charged.period_start);
        UPDATE app.transcodes SET seconds = NULL WHERE id = p_unit.transcode_id;
    END IF;
END $$;

-- End a unit and its transcode without a result, as failed, cancelled or quarantined; its other units end with it.
CREATE OR REPLACE FUNCTION app.end_unit(p_unit app.units, p_status text, p_error text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.units
    SET status = CASE p_status WHEN 'cancelled' THEN p_status ELSE 'failed' END,
        lease_token = NULL, lease_until = NULL, error = left(p_error, 2000), ended_at = now()
    WHERE id = p_unit.id;
    PERFORM app.settle_units(p_unit.transcode_id);
    PERFORM app.cancel_units(p_unit.transcode_id);
    UPDATE app.transcodes SET status = p_status, error = left(p_error, 2000), ended_at = now()
    WHERE id = p_unit.transcode_id;
END $$;

-- Put a unit back into the queue, not to be claimed for this many seconds.
CREATE OR REPLACE FUNCTION app.queue_unit(p_unit app.units, p_attempt bigint, p_error text, p_seconds double precision)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.units
    SET status = 'queued', attempt = p_attempt, lease_token = NULL, worker = NULL, fps = NULL, error = left(p_error, 2000),
        lease_until = now() + make_interval(secs => p_seconds)
    WHERE id = p_unit.id;
    UPDATE app.transcodes AS t
    SET status = app.units_status(t.id), attempts = (SELECT max(attempt) FROM app.units WHERE transcode_id = t.id),
        error = left(p_error, 2000)
    WHERE id = p_unit.transcode_id;
END $$;

-- How many seconds to wait after so many setbacks in a row: more each time, up to half a minute, and never the same for
-- all that wait.
CREATE OR REPLACE FUNCTION app.setback_seconds(p_setbacks bigint) RETURNS double precision
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
RETURN least(30, 2 ^ least(p_setbacks, 5)) * (0.5 + random() / 2);

-- Put a unit back into the queue for a fault that is not the media's: this was no attempt.
CREATE OR REPLACE FUNCTION app.requeue_unit(p_unit app.units, p_error text, p_seconds double precision) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.settle_unit(p_unit);
    PERFORM app.queue_unit(p_unit, greatest(p_unit.attempt - 1, 0), p_error, p_seconds);
END $$;

-- Take a unit back from a worker whose lease lapsed, and quarantine it if that happened `p_crashes` times and each time
-- counted. Returns whether there was something to take back.
CREATE OR REPLACE FUNCTION app.take_back_unit(p_unit bigint, p_counts boolean, p_crashes integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_unit(p_unit);
BEGIN
    IF unit.id IS NULL OR unit.status <> 'running' OR unit.lease_until > now() THEN
        RETURN false;
    END IF;
    UPDATE app.units SET setbacks = setbacks + 1, crashes = crashes + p_counts::int WHERE id = unit.id;
    IF p_counts AND unit.crashes + 1 >= p_crashes THEN
        PERFORM app.settle_unit(unit);
        PERFORM app.end_unit(unit, 'quarantined', 'the worker died over it, as it or FFmpeg had done before');
        RETURN true;
    END IF;
    -- The first time at once: most workers that die were stopped or restarted.
    PERFORM app.requeue_unit(
        unit, 'its worker died', CASE unit.setbacks WHEN 0 THEN 0 ELSE app.setback_seconds(unit.setbacks) END
    );
    RETURN true;
END $$;

-- The same for one unit, which does not count. The number of crashes, here and below, is what workers of the release
-- before give; it has no meaning any more.
CREATE OR REPLACE FUNCTION app.reap_unit(p_unit bigint, p_crashes integer DEFAULT 0) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    RETURN app.take_back_unit(p_unit, false, 0);
END $$;

-- Take all units back whose leases lapsed; returns how many. The death of a worker counts against its units if its
-- machine lives on: another worker, or the same one started again, was seen there since. Otherwise the machine may have
-- lost its power or its network.
CREATE OR REPLACE FUNCTION app.reap_units(p_crashes integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lapsed record;
    taken bigint := 0;
BEGIN
    PERFORM app.act();
    FOR lapsed IN
        SELECT u.id, EXISTS (
            SELECT FROM app.workers AS w
            WHERE w.machine = u.machine AND (w.name <> u.worker OR w.started_at > u.started_at)
                AND w.seen_at > u.lease_until - interval '5 seconds'
        ) AS counts
        FROM app.units AS u
        JOIN app.transcodes AS t ON t.id = u.transcode_id JOIN app.files AS f ON f.id = t.file_id
        WHERE u.status = 'running' AND u.lease_until <= now() ORDER BY f.pod_id, f.id, u.id
    LOOP
        taken := taken + app.take_back_unit(lapsed.id, lapsed.counts, p_crashes)::int;
    END LOOP;
    RETURN taken;
END $$;

-- Claim a waiting unit, or one whose lease lapsed, under a new token; the same token again is the same claim. Returns
-- whether the unit is held.
CREATE OR REPLACE FUNCTION app.claim_unit(
    p_unit bigint, p_token uuid, p_worker text, p_seconds double precision, p_crashes integer DEFAULT 0
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NOT NULL THEN
        RETURN true;
    END IF;
    PERFORM app.reap_unit(p_unit);
    SELECT * INTO unit FROM app.units WHERE id = p_unit AND status = 'queued';
    IF unit.id IS NULL OR unit.lease_until > now() THEN
        RETURN false;
    END IF;
    UPDATE app.units
    SET status = 'running', attempt = attempt + 1, worker = p_worker, error = NULL, started_at = now(), ended_at = NULL,
        lease_token = p_token, lease_until = now() + make_interval(secs => p_seconds),
        fps = NULL, machine = (SELECT machine FROM app.workers WHERE name = p_worker)
    WHERE id = unit.id;
    -- Each further unit of a film takes one more turn: others need not wait until all of it is encoded.
    UPDATE app.transcodes
    SET status = 'running', attempts = greatest(attempts, unit.attempt + 1), turn = turn + (unit.number > 1)::int,
        error = NULL, started_at = coalesce(started_at, now())
    WHERE id = unit.transcode_id;
    RETURN true;
END $$;

-- Claim the waiting unit that is next: by priority, then by the turns of the owners, then in the order of submission.
-- Workers that do not know of chunks (`p_chunks`) get whole films only.
-- A pod whose store is away is tried by one unit at a time. Presets that need another codec than these are left to other
-- workers. A worker runs nothing beside a unit that crashed: if it crashes again, no other is to blame. Returns the unit,
-- null if none may be claimed now, and 0 if another worker was faster: ask again, in a transaction that holds no locks.
CREATE OR REPLACE FUNCTION app.claim_next(
    p_token uuid, p_worker text, p_seconds double precision, p_codecs text[] DEFAULT '{h264}',
    p_chunks boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen bigint := (SELECT id FROM app.units WHERE lease_token = p_token AND status = 'running');
    place bigint;
    crashed boolean;
BEGIN
    PERFORM app.act();
    IF chosen IS NOT NULL THEN
        RETURN chosen;
    END IF;
    PERFORM FROM app.workers WHERE name = p_worker FOR NO KEY UPDATE;
    SELECT u.id, f.pod_id, u.crashes > 0 INTO chosen, place, crashed
    FROM app.transcodes AS t JOIN app.units AS u ON u.transcode_id = t.id JOIN app.files AS f ON f.id = t.file_id
    WHERE t.status IN ('queued', 'running', 'publishing') AND u.status = 'queued'
        AND (u.lease_until IS NULL OR u.lease_until <= now())
        AND (p_chunks OR (u.first_frame IS NULL AND u.kind IN ('chunk', 'whole')))
        AND NOT EXISTS (SELECT FROM app.pauses AS p WHERE p.pod_id = f.pod_id AND p.until > now())
        AND NOT EXISTS (
            SELECT FROM app.presets AS p
            WHERE p.hash = t.preset_hash AND p.definition #>> '{video,codec}' <> ALL (p_codecs)
        )
    ORDER BY t.priority DESC, t.turn, u.id LIMIT 1;
    IF chosen IS NULL OR EXISTS (
        SELECT FROM app.units WHERE worker = p_worker AND status = 'running' AND (crashed OR crashes > 0)
    ) THEN
        RETURN NULL;
    END IF;
    PERFORM app.lock_unit(chosen);
    IF EXISTS (SELECT FROM app.pauses AS p WHERE p.pod_id = place AND p.until > now())
        OR NOT app.claim_unit(chosen, p_token, p_worker, p_seconds) THEN
        RETURN 0;
    END IF;
    UPDATE app.pauses SET until = now() + make_interval(secs => app.setback_seconds(setbacks)) WHERE pod_id = place;
    RETURN chosen;
END $$;

-- Renew a lease, and set the progress and how many frames a second are encoded; false if it is no longer held.
-- Progress never goes back: a later attempt shows none until it is further than those before it.
CREATE OR REPLACE FUNCTION app.renew_unit(
    p_unit bigint, p_token uuid, p_seconds double precision, p_progress integer, p_fps double precision DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    UPDATE app.transcodes AS t SET progress = app.units_progress(u, p_progress) FROM app.units AS u
    WHERE u.id = p_unit AND u.lease_token = p_token AND u.status = 'running'
        AND t.id = u.transcode_id AND t.status = 'running' AND t.progress < app.units_progress(u, p_progress);
    UPDATE app.units
    SET lease_until = now() + make_interval(secs => p_seconds), fps = p_fps, progress = greatest(progress, p_progress)
    WHERE id = p_unit AND lease_token = p_token AND status = 'running';
    RETURN FOUND;
END $$;

-- Charge the owner for the seconds of this attempt, once; nulls if the unit is no longer held.
CREATE OR REPLACE FUNCTION app.charge_unit(
    p_unit bigint, p_token uuid, p_seconds bigint, OUT accepted boolean, OUT in_use bigint, OUT allowed bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
    owner bigint := (
        SELECT f.owner_id FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id
    );
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN;
    END IF;
    SELECT * INTO accepted, in_use, allowed
    FROM app.consume_quota(format('transcode:%s:%s', p_unit, p_token), owner, 'transcode', p_seconds, now());
    UPDATE app.transcodes SET seconds = p_seconds WHERE id = unit.transcode_id AND accepted;
END $$;

-- Reserve room for the bytes of this attempt, or return what is full and how much it has free; nulls if the unit is no
-- longer held. What puts pieces together takes their place, and so needs only what they have not reserved.
CREATE OR REPLACE FUNCTION app.reserve_unit(
    p_unit bigint, p_token uuid, p_size bigint,
    OUT reserved bigint, OUT refused_by text, OUT free bigint, OUT allowed bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
    pieces bigint := (
        SELECT coalesce(sum(u.reserved), 0) FROM app.units AS u
        WHERE u.transcode_id = unit.transcode_id AND u.id <> unit.id AND unit.kind = 'finalize'
    );
    own bigint := greatest(p_size - pieces, 0);
    more bigint := own - unit.reserved;
    file app.files;
    storage app.quota_counters;
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN;
    END IF;
    SELECT f.* INTO file FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id;
    storage := app.open_quota_counter(file.owner_id, 'storage', now());
    allowed := app.quota_limit(file.owner_id, 'storage', now());
    SELECT room.name, greatest(room.bytes + pieces, 0) INTO refused_by, free
    FROM (
        SELECT 1, 'pod', capacity - used - pods.reserved FROM app.pods WHERE id = file.pod_id
        UNION ALL
        SELECT 2, 'storage', allowed - storage.used - storage.reserved
    ) AS room (rank, name, bytes) WHERE room.bytes < more ORDER BY room.rank LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    reserved := p_size;
    UPDATE app.pods AS p SET reserved = p.reserved + more WHERE id = file.pod_id;
    UPDATE app.quota_counters AS c SET reserved = c.reserved + more WHERE user_id = file.owner_id AND metric = 'storage';
    UPDATE app.units AS u SET reserved = own WHERE id = unit.id;
END $$;

-- The folder of a pod in its bucket: empty, or ending in a slash.
CREATE OR REPLACE FUNCTION app.pod_folder(p_prefix text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(p_prefix, '/') || CASE WHEN btrim(p_prefix, '/') = '' THEN '' ELSE '/' END;

-- Publish what this attempt made, once: its renditions use the bytes that it reserved, and supersede those that earlier
-- transcodes made of the same content with the same preset. Returns whether they are published. Their objects must be
-- where this attempt stores its objects.
CREATE OR REPLACE FUNCTION app.publish_unit(p_unit bigint, p_token uuid, p_renditions jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_unit(p_unit);
    file app.files;
    folder text;
    total bigint;
    superseded bigint;
    held bigint := (SELECT sum(reserved) FROM app.units WHERE transcode_id = unit.transcode_id);
BEGIN
    PERFORM app.act();
    IF unit.status <> 'running' OR unit.lease_token IS DISTINCT FROM p_token THEN
        RETURN coalesce(unit.status = 'done' AND unit.lease_token = p_token, false);
    END IF;
    SELECT f.* INTO file FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id;
    folder := (SELECT app.pod_folder(prefix) FROM app.pods WHERE id = file.pod_id)
        || concat_ws('/', 'renditions', file.id, unit.transcode_id, p_token) || '/';
    IF EXISTS (
        SELECT FROM jsonb_to_recordset(p_renditions) AS made (prefix text, entry text)
        WHERE made.prefix IS DISTINCT FROM folder
            OR (made.entry ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$') IS NOT TRUE
    ) THEN
        RAISE LOG 'login % published objects that are not those of transcode %', session_user, unit.transcode_id;
        RAISE EXCEPTION 'these objects are not those of transcode %', unit.transcode_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO app.renditions
        (transcode_id, file_id, name, kind, prefix, entry, width, height, bitrate, size, duration_ms, frames, rungs,
        damaged, inventory)
    SELECT unit.transcode_id, file.id, made.name, made.kind, made.prefix, made.entry, made.width, made.height,
        made.bitrate, made.size, made.duration_ms, made.frames, made.rungs, coalesce(made.damaged, 0),
        decode(made.inventory, 'hex')
    FROM jsonb_to_recordset(p_renditions) AS made (
        name text, kind text, prefix text, entry text, width integer, height integer, bitrate integer, size bigint,
        duration_ms integer, frames bigint, rungs jsonb, damaged double precision, inventory text
    );
    SELECT sum(made.size) INTO total FROM jsonb_to_recordset(p_renditions) AS made (size bigint);
    WITH gone AS (
        DELETE FROM app.renditions AS r USING app.transcodes AS t, app.transcodes AS own
        WHERE own.id = unit.transcode_id AND t.version_id = own.version_id AND t.preset = own.preset AND t.id < own.id
            AND r.transcode_id = t.id RETURNING r.size
    )
    SELECT coalesce(sum(size), 0) INTO superseded FROM gone;
    UPDATE app.pods SET used = used + total - superseded, reserved = reserved - held WHERE id = file.pod_id;
    UPDATE app.quota_counters SET used = used + total - superseded, reserved = reserved - held
    WHERE user_id = file.owner_id AND metric = 'storage';
    UPDATE app.units SET reserved = 0 WHERE transcode_id = unit.transcode_id;
    UPDATE app.units SET status = 'done', progress = 100, lease_until = NULL, ended_at = now() WHERE id = unit.id;
    PERFORM app.cancel_units(unit.transcode_id);
    UPDATE app.transcodes SET status = 'done', progress = 100, ended_at = now() WHERE id = unit.transcode_id;
    RETURN true;
END $$;

-- Record that this attempt failed: retry after `p_seconds`, unless it was the last of `p_attempts` or `p_final` is set.
-- Returns whether the unit was held.
CREATE OR REPLACE FUNCTION app.fail_unit(
    p_unit bigint, p_token uuid, p_error text, p_final boolean, p_attempts integer, p_seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM app.settle_unit(unit);
    IF p_final OR unit.attempt >= p_attempts THEN
        PERFORM app.end_unit(unit, 'failed', p_error);
    ELSE
        PERFORM app.queue_unit(unit, unit.attempt, p_error, p_seconds);
    END IF;
    RETURN true;
END $$;

-- Record that FFmpeg crashed over this unit: retry it, unless that happened `p_crashes` times: then it is quarantined.
-- Returns whether the unit was held.
CREATE OR REPLACE FUNCTION app.crash_unit(p_unit bigint, p_token uuid, p_error text, p_crashes integer)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE app.units SET crashes = crashes + 1 WHERE id = unit.id;
    IF unit.crashes + 1 < p_crashes THEN
        PERFORM app.requeue_unit(unit, p_error, app.setback_seconds(1));
    ELSE
        PERFORM app.settle_unit(unit);
        PERFORM app.end_unit(unit, 'quarantined', p_error);
    END IF;
    RETURN true;
END $$;

-- Record that this attempt ended with a fault that is not the media's, and will be over: the unit is retried for as long
-- as it takes. With `p_pod` it is a fault of the pod's store, and its other units wait, too. Returns whether the unit
-- was held.
CREATE OR REPLACE FUNCTION app.set_back_unit(p_unit bigint, p_token uuid, p_error text, p_pod boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE app.units SET setbacks = setbacks + 1 WHERE id = unit.id;
    PERFORM app.requeue_unit(unit, p_error, CASE WHEN p_pod THEN 0 ELSE app.setback_seconds(unit.setbacks + 1) END);
    IF p_pod THEN
        INSERT INTO app.pauses AS p (pod_id, error, until)
        SELECT f.pod_id, left(p_error, 2000), now() + make_interval(secs => app.setback_seconds(1))
        FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id
        ON CONFLICT (pod_id) DO UPDATE
        SET setbacks = p.setbacks + 1, error = excluded.error,
            until = now() + make_interval(secs => app.setback_seconds(p.setbacks + 1));
    END IF;
    RETURN true;
END $$;

-- End the pause of the pod of this unit, whose worker found that the store answers.
CREATE OR REPLACE FUNCTION app.end_pause(p_unit bigint, p_token uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    DELETE FROM app.pauses
    WHERE pod_id = (
        SELECT f.pod_id FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id WHERE t.id = unit.transcode_id
    );
END $$;

-- Release a unit as if it had not been tried. Returns whether it was held.
CREATE OR REPLACE FUNCTION app.release_unit(p_unit bigint, p_token uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM app.requeue_unit(unit, NULL, 0);
    RETURN true;
END $$;

-- Cancel a unit that waits or runs, and its transcode; its worker finds out at the next renewal. Returns whether the
-- unit was cancelled. An enduser may cancel work on their own files.
CREATE OR REPLACE FUNCTION app.cancel_unit(p_unit bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units;
BEGIN
    PERFORM app.act();
    IF NOT app.sees_all() AND app.actor() IS DISTINCT FROM (
        SELECT f.owner_id FROM app.units AS u JOIN app.transcodes AS t ON t.id = u.transcode_id
        JOIN app.files AS f ON f.id = t.file_id WHERE u.id = p_unit
    ) THEN
        RETURN false;
    END IF;
    unit := app.lock_unit(p_unit);
    IF unit.status IS NULL OR unit.status NOT IN ('queued', 'running') THEN
        RETURN false;
    END IF;
    PERFORM app.settle_unit(unit);
    PERFORM app.end_unit(unit, 'cancelled', NULL);
    RETURN true;
END $$;

-- Note that a worker is alive, on which machine since it started (null if unknown), and what keeps it from encoding, if
-- anything; forget those that are long gone.
CREATE OR REPLACE FUNCTION app.note_worker(
    p_name text, p_slots integer, p_queues text, p_problem text, p_machine text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    INSERT INTO app.workers (name, slots, queues, problem, machine)
    VALUES (p_name, p_slots, p_queues, left(p_problem, 2000), p_machine)
    ON CONFLICT (name) DO UPDATE SET seen_at = now(), problem = excluded.problem;
    DELETE FROM app.workers WHERE seen_at < now() - interval '1 day';
END $$;

CREATE OR REPLACE FUNCTION app.forget_worker(p_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    DELETE FROM app.workers WHERE name = p_name;
END $$;

-- A transcode that ends is told to the hook, if a worker has one: the call is written in the transaction that ends it.
CREATE OR REPLACE FUNCTION app.await_hook() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO app.hook_calls (transcode_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER await_hook AFTER UPDATE ON app.transcodes
    FOR EACH ROW WHEN (
        NEW.status <> OLD.status AND NEW.status IN ('done', 'failed', 'cancelled', 'quarantined')
    ) EXECUTE FUNCTION app.await_hook();
