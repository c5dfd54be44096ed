"""Rows for a schema that is not the present one: of each table, in the SQL of the revision that makes it."""

from sqlalchemy import Connection, text

ROWS = {
    "0001": """
        INSERT INTO app.users (email, role) VALUES ('ada@example.com', 'superadmin'), ('bob@example.com', 'enduser');
        INSERT INTO app.logins (role, user_id, kind) SELECT 'ada', id, 'personal' FROM app.users LIMIT 1""",
    "0002": """
        INSERT INTO app.pods (name, capacity, primary_provider, bucket) VALUES ('photos', 1000, 'local', 'photos');
        INSERT INTO app.pod_grants (pod_id, user_id) SELECT p.id, u.id FROM app.pods p, app.users u;
        INSERT INTO app.provider_defaults (provider) VALUES ('local');
        INSERT INTO app.credentials (provider, ciphertext, wrapped_key, key_id) VALUES ('local', 'c', 'k', 'id')""",
    "0003": """
        INSERT INTO app.plans (name, price, currency, "interval", storage_limit, upload_limit)
        VALUES ('basic', 900, 'eur', 'month', 500, 500);
        INSERT INTO app.subscriptions (user_id, plan_id, status)
        SELECT u.id, p.id, 'active' FROM app.users u, app.plans p""",
    "0004": """
        INSERT INTO app.quota_anchors SELECT id, now(), now() FROM app.users LIMIT 1;
        INSERT INTO app.quota_limits SELECT id, 'upload', NULL FROM app.users LIMIT 1;
        INSERT INTO app.quota_grants (user_id, metric, period_start, amount)
        SELECT id, 'upload', now(), 5 FROM app.users LIMIT 1;
        SELECT app.consume_quota('once', id, 'upload', 3, now()) FROM app.users;
        INSERT INTO app.quota_closings (user_id, metric, period_start, period_end, used)
        SELECT id, 'upload', now() - interval '1 month', now(), 3 FROM app.users""",
    "0005": """
        INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid)
        SELECT 'run', p.id, u.id, 'h', 'host', 1 FROM app.pods p, app.users u;
        SELECT app.take_lease(p.id, u.id, NULL, 10, 10, 60, now()) FROM app.pods p, app.users u;
        INSERT INTO app.files (pod_id, owner_id, path, size)
        SELECT p.id, u.id, 'a/b.jpg', 1 FROM app.pods p, app.users u;
        INSERT INTO app.versions (file_id, size, key) SELECT id, 1, 'key-' || id FROM app.files;
        UPDATE app.files f SET version_id = v.id FROM app.versions v WHERE v.file_id = f.id;
        INSERT INTO app.copies (version_id, provider) SELECT id, 'local' FROM app.versions""",
    "0006": """
        INSERT INTO app.operations (id, command, fingerprint) VALUES ('one', 'users create', 'f');
        INSERT INTO app.audit (table_name, row_id, action) VALUES ('users', '1', 'insert')""",
    "0007": """
        INSERT INTO app.stripe_events (id, type, created_at) VALUES ('evt_1', 'invoice.paid', now());
        INSERT INTO app.stripe_payloads VALUES ('evt_1', '{}');
        INSERT INTO app.stripe_objects (id, kind) VALUES ('sub_1', 'subscription')""",
    "0008": """
        INSERT INTO app.transcodes (file_id, version_id, preset) SELECT file_id, id, 'hls' FROM app.versions;
        INSERT INTO app.units (transcode_id, number, kind) SELECT id, 1, 'chunk' FROM app.transcodes;
        INSERT INTO app.renditions (transcode_id, file_id, name, kind, prefix, size)
        SELECT id, file_id, '720p', 'hls', 'r/1', 1 FROM app.transcodes""",
    "0009": "INSERT INTO queue.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')",
    "0010": "UPDATE app.transcodes SET seconds = 30",
    "0011": "SELECT app.wake('transcode', 'transcode', ARRAY['1', '2'], 0)",
    "0012": "INSERT INTO app.customers (user_id, stripe_customer_id) SELECT min(id), 'cus_1' FROM app.users",
    "0013": """
        UPDATE app.installation SET session_hours = 12;
        UPDATE app.users SET name = 'Bob' WHERE email = 'bob@example.com'""",
    "0014": "SELECT app.purge_files(1)",
    "0015": """
        INSERT INTO app.operations (id, command, fingerprint, user_id)
        SELECT 'one', 'users create', 'f', max(id) FROM app.users""",
    "0016": "SELECT app.purge_files(1)",
    "0017": "UPDATE app.users SET updated_at = now()",
    "0018": "UPDATE app.files SET error = NULL",
    "0019": """
        INSERT INTO app.versions (file_id, size, key) SELECT id, 1, '0a/0a' || md5(id::text) FROM app.files;
        SELECT app.prune_operations(1)""",
    "0020": "UPDATE app.files SET lost_version_id = version_id",
    "0021": """
        INSERT INTO app.runs (name, pod_id, owner_id, selection_hash, host, pid, status, joined_id, parameters)
        SELECT 'joined', pod_id, owner_id, 'h', 'h', 2, 'joined', id, '{"sources": []}' FROM app.runs
        WHERE status = 'running';
        UPDATE app.runs SET left_at = now(), cancelled_at = now(), error = 'e', status = 'cancelled', ended_at = now()
        WHERE joined_id IS NULL;
        UPDATE app.versions SET part_etags = 'a' WHERE upload_id IS NOT NULL""",
    "0022": """
        INSERT INTO app.probes (pod_id, provider, endpoint, bucket, proof, found, measured)
        SELECT id, 'local', '', 'photos', 'md5-etag', '{}', '{}' FROM app.pods""",
    "0023": """
        UPDATE app.pods SET allowed_types = ARRAY['video/*'], max_file_size = 9;
        UPDATE app.plans SET allowed_types = ARRAY['image/png'];
        SELECT app.keep_upload(1, 60)""",
    "0024": """
        INSERT INTO app.copies (version_id, provider) SELECT id, 'wasabi' FROM app.versions;
        INSERT INTO app.rendition_copies (rendition_id, provider) SELECT id, 's3' FROM app.renditions;
        INSERT INTO app.outages (pod_id, provider, error) SELECT id, 's3', 'it does not answer' FROM app.pods""",
    "0025": "UPDATE app.pods SET copies_during_uploads = false",
    "0026": "SELECT app.share_objects(ARRAY[1], ARRAY[sha256('a')])",
    "0027": """
        UPDATE app.customers SET email = 'ada@example.com';
        UPDATE app.subscriptions SET cancel_at = now(), pause_collection = 'void', fallback_plan_id = plan_id""",
    "0028": """
        SELECT app.bind_billing_account('acct_1', true);
        INSERT INTO app.plan_prices (price_id, plan_id, amount, currency, "interval")
        SELECT 'price_1', id, 900, 'eur', 'month' FROM app.plans;
        INSERT INTO app.findings (kind, object_id, user_id, severity, sentence, fix)
        SELECT 'paid-twice', 'sub_1', min(id), 'error', 'user 2 pays for sub_1 and sub_2', '' FROM app.users""",
    "0029": """
        UPDATE app.quota_limits SET "limit" = 7;
        UPDATE app.plans SET upload_limit = 7;
        SELECT app.note_webhook_secrets(ARRAY['one'], ARRAY['01234567'])""",
    "0030": "INSERT INTO app.parts SELECT id, 1, 1, 'e', sha256('a') FROM app.versions",
    "0031": "UPDATE app.transcodes SET damage = 'refuse'; UPDATE app.renditions SET damaged = 0.01",
    "0032": """
        UPDATE app.transcodes SET turn = 2;
        UPDATE app.units SET setbacks = 1;
        INSERT INTO app.pauses (pod_id, until, error) SELECT id, now(), 'it does not answer' FROM app.pods;
        SELECT app.note_worker('here:1', 1, 'transcode', NULL)""",
    "0033": """
        UPDATE app.plans SET other_prices = '{"usd": 1099}';
        UPDATE app.plan_prices SET other_prices = '{"usd": 1099}'""",
    "0034": """
        UPDATE app.presets SET ended_at = now() WHERE name = 'poster';
        UPDATE app.transcodes SET preset_hash = (SELECT hash FROM app.presets WHERE name = transcodes.preset)""",
    "0035": """
        UPDATE app.units SET machine = 'machine', fps = 25;
        UPDATE app.workers SET machine = 'machine';
        UPDATE app.renditions SET inventory = sha256('a');
        INSERT INTO app.hook_calls (transcode_id, error) SELECT id, 'no' FROM app.transcodes""",
    "0036": "UPDATE app.subscriptions SET end_due_at = now()",
    "0037": """
        UPDATE app.units SET first_frame = 0, last_frame = 149;
        INSERT INTO app.units (transcode_id, number, kind, first_frame, last_frame, status, progress, inventory)
        SELECT id, 2, 'chunk', 150, 299, 'done', 100, sha256('a') FROM app.transcodes""",
    "0038": "UPDATE app.units SET progress = 100",
    "0039": "UPDATE app.units SET reserved = 0",
}


def fill(connection: Connection, revision: str) -> None:
    """Insert the rows of a revision."""
    for statement in ROWS[revision].split(";"):
        connection.execute(text(statement))
    connection.commit()
