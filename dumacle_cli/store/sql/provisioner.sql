-- Which functions of the schema app the provisioner may call: what logins.sql asks and notes.
SELECT name FROM (VALUES
    ('act'),
    ('actor'),
    ('actor_role'),
    ('require_superadmin'),
    ('lock_user'),
    ('login_user'),
    ('login_of'),
    ('logins_of'),
    ('expired_logins'),
    ('add_login'),
    ('drop_login'),
    ('end_login'),
    ('note_password'),
    ('service_user'),
    ('session_hours'),
    ('prefix')
) AS asked (name)
