-- Wake a worker for each id, in the caller's transaction: insert a job unless one waits already; returns how many. A
-- lost job is harmless: a worker's sweep adds it again. The order keeps two callers from deadlocking.
CREATE OR REPLACE FUNCTION app.wake(p_queue text, p_task text, p_ids text[], p_priority integer) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    woken integer;
BEGIN
    PERFORM app.act();
    WITH written AS (
        INSERT INTO queue.procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args)
        SELECT p_queue, p_task, p_priority, p_task || ':' || id, jsonb_build_object('id', id)
        FROM unnest(p_ids) AS id ORDER BY id
        ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
        RETURNING 1
    )
    SELECT count(*) INTO woken FROM written;
    RETURN woken;
END $$;
