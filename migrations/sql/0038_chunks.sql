-- Long films in chunks. The worker of the first unit divides the film; each chunk and the sound is a unit of its own,
-- whose output, a piece, is stored under the prefix of its attempt. The statement that completes the last of them adds
-- the unit that puts them together. The first unit is charged for the whole film. Whatever ends the transcode ends all
-- its units; their pieces are removed afterwards. The functions of units.sql use these.

-- The status of a transcode that has not ended: whether one of its units runs.
CREATE OR REPLACE FUNCTION app.units_status(p_transcode bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN EXISTS (SELECT FROM app.units WHERE transcode_id = p_transcode AND status = 'running') THEN 'running'
    ELSE 'queued'
END;

-- The progress of a transcode, in percent, when one of its units has come to `p_progress`: of a film in chunks that of
-- all pictures together, up to 97, and the rest for putting it together.
CREATE OR REPLACE FUNCTION app.units_progress(p_unit app.units, p_progress integer) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN p_unit.kind = 'finalize' THEN 97 + p_progress / 50
    WHEN p_unit.kind = 'chunk' AND p_unit.first_frame IS NOT NULL THEN (
        SELECT (97 * sum((last_frame - first_frame + 1)
            * CASE id WHEN p_unit.id THEN greatest(progress, p_progress) ELSE progress END)
            / (100 * sum(last_frame - first_frame + 1)))::integer
        FROM app.units WHERE transcode_id = p_unit.transcode_id AND kind = 'chunk' AND status <> 'cancelled'
    )
    WHEN p_unit.kind = 'audio' THEN 0
    ELSE p_progress
END;

-- Give back what the units of a transcode hold.
CREATE OR REPLACE FUNCTION app.settle_units(p_transcode bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.settle_unit(u) FROM app.units AS u WHERE transcode_id = p_transcode;
END $$;

-- End the units of a transcode that wait or run.
CREATE OR REPLACE FUNCTION app.cancel_units(p_transcode bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE app.units SET status = 'cancelled', lease_token = NULL, lease_until = NULL, ended_at = now()
    WHERE transcode_id = p_transcode AND status IN ('queued', 'running');
END;

-- Begin a transcode again with one unit for the whole film, which takes the place of all others.
CREATE OR REPLACE FUNCTION app.replace_units(p_transcode bigint, p_kind text, p_error text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.settle_units(p_transcode);
    PERFORM app.cancel_units(p_transcode);
    INSERT INTO app.units (transcode_id, number, kind)
    SELECT transcode_id, max(number) + 1, p_kind FROM app.units WHERE transcode_id = p_transcode GROUP BY transcode_id;
    UPDATE app.transcodes SET status = 'queued', error = left(p_error, 2000) WHERE id = p_transcode;
END $$;

-- Divide a film whose first unit is held: that becomes its first chunk, and waits like the others. `p_cuts` are the
-- numbers of the first picture of each chunk and the one after the last. Returns whether the unit was held.
CREATE OR REPLACE FUNCTION app.divide_unit(p_unit bigint, p_token uuid, p_cuts bigint[], p_sound boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
    chunks integer := cardinality(p_cuts) - 1;
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE app.units SET first_frame = p_cuts[1], last_frame = p_cuts[2] - 1 WHERE id = unit.id;
    -- Claimed before them, because the sound of a long film takes longer than a chunk.
    INSERT INTO app.units (transcode_id, number, kind) SELECT unit.transcode_id, chunks + 1, 'audio' WHERE p_sound;
    INSERT INTO app.units (transcode_id, number, kind, first_frame, last_frame)
    SELECT unit.transcode_id, n, 'chunk', p_cuts[n], p_cuts[n + 1] - 1 FROM generate_series(2, chunks) AS n;
    PERFORM app.requeue_unit(unit, NULL, 0);
    RETURN true;
END $$;

-- Complete a unit whose piece is stored, with the hash of its inventory; the last one adds the unit that puts the pieces
-- together. Returns whether the unit is done.
CREATE OR REPLACE FUNCTION app.complete_unit(p_unit bigint, p_token uuid, p_inventory bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_unit(p_unit);
BEGIN
    PERFORM app.act();
    IF unit.status <> 'running' OR unit.lease_token IS DISTINCT FROM p_token THEN
        RETURN coalesce(unit.status = 'done' AND unit.lease_token = p_token, false);
    END IF;
    UPDATE app.units SET status = 'done', progress = 100, inventory = p_inventory, lease_until = NULL, ended_at = now()
    WHERE id = unit.id;
    INSERT INTO app.units (transcode_id, number, kind)
    SELECT transcode_id, max(number) + 1, 'finalize' FROM app.units
    WHERE transcode_id = unit.transcode_id GROUP BY transcode_id HAVING bool_and(status = 'done');
    UPDATE app.transcodes SET status = app.units_status(id) WHERE id = unit.transcode_id;
    RETURN true;
END $$;

-- Let a film be made as a whole after all, because its pieces cannot be made or do not belong together: its units end,
-- and a new one takes their place. Returns whether the unit was held.
CREATE OR REPLACE FUNCTION app.make_whole(p_unit bigint, p_token uuid, p_error text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unit app.units := app.lock_held_unit(p_unit, p_token);
BEGIN
    PERFORM app.act();
    IF unit.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE app.units SET error = left(p_error, 2000) WHERE id = unit.id;
    PERFORM app.replace_units(unit.transcode_id, 'whole', p_error);
    RETURN true;
END $$;

-- Forget the pieces of transcodes that have ended: they were removed from the store.
CREATE OR REPLACE FUNCTION app.forget_pieces(p_transcodes bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    UPDATE app.units AS u SET inventory = NULL FROM app.transcodes AS t
    WHERE t.id = ANY (p_transcodes) AND u.transcode_id = t.id AND u.inventory IS NOT NULL
        AND t.status NOT IN ('queued', 'running', 'publishing');
END $$;
