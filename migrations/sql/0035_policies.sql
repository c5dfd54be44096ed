-- Row visibility: in every table that they may read (matrix.sql), endusers see their own rows. The matrix also says who
-- may write. Policies are TO PUBLIC, so that they apply to every role, and ask `(select f())`, which runs once per
-- statement. The owner of the schema is exempt: with FORCE, the functions that the policies call would recurse.

-- Migrations 0013 and 0014 create these policies before 0015 completes this column.
ALTER TABLE app.operations ADD COLUMN IF NOT EXISTS user_id bigint;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY', name);
    END LOOP;
    FOR name IN SELECT policyname || ' ON app.' || quote_ident(tablename) FROM pg_policies WHERE schemaname = 'app' LOOP
        EXECUTE 'DROP POLICY ' || name;
    END LOOP;
END $$;

-- Users: an admin writes endusers only, and creates no other role; a service locks rows and changes nothing.
CREATE POLICY sees ON app.users FOR SELECT USING ((SELECT app.sees_all()) OR id = (SELECT app.actor()));
CREATE POLICY makes ON app.users FOR INSERT
    WITH CHECK ((SELECT app.is_superadmin()) OR (role = 'enduser' AND (SELECT app.administers('enduser'))));
CREATE POLICY changes ON app.users FOR UPDATE
    USING ((SELECT app.is_superadmin()) OR (role = 'enduser' AND (SELECT app.sees_all())));
CREATE POLICY sees ON app.logins FOR SELECT
    USING ((SELECT app.is_superadmin()) OR user_id = (SELECT app.actor()) OR (SELECT app.actor_role()) = 'admin');
CREATE POLICY everybody ON app.installation USING ((SELECT app.actor_role()) IS NOT NULL);

-- What a user owns. Users who see all rows may also write them, where matrix.sql allows it.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['pod_grants', 'customers', 'subscriptions', 'quota_anchors', 'quota_limits', 'quota_grants',
                                'quota_counters', 'quota_entries', 'quota_closings', 'entitlements', 'own_limits',
                                'leases', 'findings'] LOOP
        EXECUTE format('CREATE POLICY own ON app.%I USING ((SELECT app.sees_all()) OR user_id = (SELECT app.actor()))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['files', 'runs'] LOOP
        EXECUTE format('CREATE POLICY own ON app.%I USING ((SELECT app.sees_all()) OR owner_id = (SELECT app.actor()))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['versions', 'transcodes', 'renditions'] LOOP
        EXECUTE format($policy$CREATE POLICY own ON app.%I USING ((SELECT app.sees_all()) OR EXISTS (
            SELECT FROM app.files AS f WHERE f.id = file_id AND f.owner_id = (SELECT app.actor())))$policy$, name);
    END LOOP;
    -- What belongs to the installation, not to a user, and what only staff's programs work with.
    FOREACH name IN ARRAY ARRAY['provider_defaults', 'billing_accounts', 'stripe_events', 'stripe_payloads',
                                'stripe_objects', 'webhook_secrets', 'parts', 'workers', 'hook_calls'] LOOP
        EXECUTE format('CREATE POLICY staff ON app.%I USING ((SELECT app.sees_all()))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['plans', 'plan_prices', 'plan_limits', 'presets', 'schema_version'] LOOP
        EXECUTE format('CREATE POLICY everybody ON app.%I USING ((SELECT app.actor_role()) IS NOT NULL)', name);
    END LOOP;
END $$;
CREATE POLICY own ON app.units USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.transcodes AS t JOIN app.files AS f ON f.id = t.file_id
    WHERE t.id = transcode_id AND f.owner_id = (SELECT app.actor())));
CREATE POLICY own ON app.copies USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.versions AS v JOIN app.files AS f ON f.id = v.file_id
    WHERE v.id = copies.version_id AND f.owner_id = (SELECT app.actor())));
CREATE POLICY own ON app.rendition_copies USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.renditions AS r JOIN app.files AS f ON f.id = r.file_id
    WHERE r.id = rendition_copies.rendition_id AND f.owner_id = (SELECT app.actor())));
CREATE POLICY granted ON app.outages USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.pod_grants AS g WHERE g.pod_id = outages.pod_id AND g.user_id = (SELECT app.actor())));
CREATE POLICY granted ON app.pauses USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.pod_grants AS g WHERE g.pod_id = pauses.pod_id AND g.user_id = (SELECT app.actor())));
CREATE POLICY granted ON app.pods USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.pod_grants AS g WHERE g.pod_id = id AND g.user_id = (SELECT app.actor())));

CREATE POLICY granted ON app.probes USING ((SELECT app.sees_all()) OR EXISTS (
    SELECT FROM app.pod_grants AS g WHERE g.pod_id = probes.pod_id AND g.user_id = (SELECT app.actor())));

-- Keys, and the audit log: not for admins.
CREATE POLICY keys ON app.credentials USING ((SELECT app.actor_role()) NOT IN ('admin', 'enduser', 'listener'));
CREATE POLICY record ON app.audit FOR SELECT USING ((SELECT app.is_superadmin()));
CREATE POLICY own ON app.operations USING ((SELECT app.is_superadmin()) OR user_id = (SELECT app.actor()))
    WITH CHECK (login = session_user::text AND user_id = (SELECT app.actor()));

-- Written by functions only, and visible to nobody: a row lives no longer than the transaction that it is about.
CREATE POLICY nobody ON app.acting USING ((SELECT app.actor_role()) = 'owner');
