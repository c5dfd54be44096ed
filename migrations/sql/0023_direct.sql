-- What uploads that clients send themselves reserve: one lease for one file, without a run.

-- Reserve the bytes of one file for `p_seconds`, or return which limit refused it and how much it has free.
CREATE OR REPLACE FUNCTION app.reserve_upload(
    p_pod bigint, p_user bigint, p_size bigint, p_seconds double precision,
    OUT lease_id bigint, OUT refused_by text, OUT free bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.act();
    SELECT taken.lease_id, taken.refused_by, taken.free INTO lease_id, refused_by, free
    FROM app.take_lease(p_pod, p_user, NULL, p_size, p_size, p_seconds, now()) AS taken;
    IF lease_id IS NULL AND NOT EXISTS (SELECT FROM app.pods WHERE id = p_pod AND deleted_at IS NULL) THEN
        RAISE EXCEPTION 'the pod was deleted meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF NOT EXISTS (SELECT FROM app.pod_grants WHERE pod_id = p_pod AND user_id = p_user FOR KEY SHARE) THEN
        RAISE EXCEPTION 'the pod was taken from its user meanwhile' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;

-- Keep an open reservation for at least this many more seconds; returns when it ends, or NULL if it was closed.
CREATE OR REPLACE FUNCTION app.keep_upload(p_lease bigint, p_seconds double precision) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept timestamptz;
BEGIN
    PERFORM app.act();
    IF p_seconds NOT BETWEEN 0 AND 86400 THEN
        RAISE EXCEPTION 'a reservation is kept for 0 to 86400 seconds' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE app.leases SET until = greatest(until, now() + make_interval(secs => p_seconds))
    WHERE id = p_lease AND run_id IS NULL AND closed_at IS NULL RETURNING until INTO kept;
    RETURN kept;
END $$;
