# fish completion for dumacle, made by: dumacle completion show fish

function __dumacle_children
    switch $argv[1]
        case ''
            printf '%s\t%s\n' 'demo' 'Show the whole product on this machine: servers, users, plans, uploads, links, a transcode, quotas.' 'auth' 'Log in and out, and manage your sessions.' 'users' 'Create, show, change and remove users.' 'pods' 'Manage storage pods: capacity, providers, grants.' 'plans' 'Manage plans: prices, limits, subscriptions.' 'files' 'Upload, list, share, download, move and remove files.' 'transcode' 'Transcode uploaded video and audio for playback.' 'webhooks' 'Receive webhooks from Stripe and inspect them.' 'worker' 'Run queued jobs until SIGTERM: transcodes, copies to secondary providers, calls of the hook,...' 'key' 'Manage the key that encrypts credentials.' 'audit' 'Search the audit log: who changed what, and when.' 'quotas' 'Manage monthly limits and their counters.' 'db' 'Manage the database: create, upgrade, seed, check.' 'local' 'Manage the embedded PostgreSQL and S3 server on this machine.' 'config' 'Show and change settings.' 'doctor' 'Check everything Dumacle depends on, with a fix for each finding; exit 1 if a check fails.' 'schema' 'Print the JSON Schema of a command\'s output, or the names of all schemas.' 'completion' 'Install shell completion for bash, zsh, fish or PowerShell.'
        case ' auth'
            printf '%s\t%s\n' 'login' 'Log in with your own password; only a session, which expires, is kept.' 'logout' 'End your session at the server and remove it here, even if it has expired.' 'whoami' 'Show your user, role and login.' 'status' 'Show where your password comes from and whether the server accepts it; exit 4 if it does not.' 'passwd' 'Change your own password; open sessions stay open.' 'sessions' 'Manage your open sessions.'
        case ' auth sessions'
            printf '%s\t%s\n' 'list' 'List your open sessions; admins see those of all users.' 'revoke' 'End a session and its running queries immediately.' 'limit' 'Set the longest duration of a session; open sessions keep theirs.'
        case ' users'
            printf '%s\t%s\n' 'create' 'Create a user, and grant the plan\'s default pod.' 'list' 'List users.' 'show' 'Show a user\'s plan, pods and quotas, and why they cannot upload.' 'update' 'Change a user\'s plan, name, e-mail address or role.' 'disable' 'Disable a user; their files and pods are kept.' 'enable' 'Enable a disabled user.' 'delete' 'Delete a user; their files are kept, and `restore` undoes it.' 'restore' 'Restore and enable a deleted user.' 'purge' 'Permanently erase a user and all their files; if interrupted, repeat it to continue.' 'import' 'Create many users, one per line; existing users are not modified.' 'grant-login' 'Give a user or a service a PostgreSQL login, or a new password if they have one.' 'revoke-login' 'Remove all logins of a user or a service, and end their running queries immediately.' 'set-role' 'Change a user\'s role: their sessions end, and a higher role also voids their password.'
        case ' pods'
            printf '%s\t%s\n' 'replicate' 'Copy everything that is missing at a pod\'s secondary provider now; if interrupted, repeat it to...' 'reconcile' 'Compare a pod\'s rows with the objects at its providers, both ways; exit 12 if something is left...' 'promote' 'Make a pod\'s secondary provider the primary and the primary the secondary; every object must be...' 'probe' 'Find out what a pod\'s store keeps and enforces, and remember it.' 'create' 'Create a pod; a secondary bucket is tested before the pod uses it.' 'list' 'List pods.' 'show' 'Show a pod and its first hundred grants.' 'update' 'Change a pod; a credential or secondary bucket is tested before the pod uses it.' 'grant' 'Allow a user to upload into a pod.' 'revoke' 'Stop a user from uploading into a pod; existing files are kept.' 'delete' 'Delete a pod; it accepts no uploads or grants until it is restored.' 'restore' 'Restore a deleted pod.' 'usage' 'Show how full pods are, including deleted files that are not purged yet.' 'check' 'Recount storage and quotas and compare them with the counters; exit 12 if they differ.' 'credentials' 'Manage access keys for a provider: a pod\'s own, or the default.' 'cors' 'Which web pages may send files to the bucket of a pod.'
        case ' pods credentials'
            printf '%s\t%s\n' 'set' 'Encrypt and store access keys; they are tested first if the pod uses its own.' 'show' 'Show the credentials of a pod or the defaults, without secrets.' 'test' 'Test a credential against the bucket: put, get and delete an object.' 'clear' 'Delete a credential; refused while a pod uses it.' 'rotate-key' 'Re-encrypt all credentials with a new key; if interrupted, repeat it to continue.'
        case ' pods cors'
            printf '%s\t%s\n' 'show' 'Show the CORS rules of a pod\'s bucket, which all pods in the bucket share.' 'set' 'Let pages from exactly these origins send files to a pod\'s bucket; rules without PUT are kept.' 'check' 'Check that pages from these origins may send files to a pod\'s bucket; exit 12 if not.'
        case ' plans'
            printf '%s\t%s\n' 'create' 'Create a plan.' 'list' 'List plans by name.' 'show' 'Show a plan, its number of live subscriptions, and how it differs from what Stripe sells.' 'update' 'Change a plan; new limits apply to its subscribers immediately.' 'archive' 'Archive a plan; its subscribers keep it.' 'restore' 'Restore an archived plan.' 'push' 'Publish plans to Stripe; repeating it writes only what differs.' 'diff' 'Compare plans with what Stripe sells, field by field.' 'subscribe' 'Subscribe a user to a plan; a plan with a price needs --checkout or --direct.' 'portal' 'Create a link to Stripe\'s customer portal: payment methods and invoices.' 'change' 'Move a user to another plan: up now, down at the end of the paid period.' 'cancel' 'End a user\'s subscription after the paid period; a free one ends immediately.' 'resume' 'Keep a subscription: undo its cancellation, a scheduled downgrade, or a pause of payments.' 'refund' 'Refund an invoice to the payment method it was paid with; the subscription goes on.' 'sync' 'Compare subscriptions and plans with Stripe and correct differences; for cron, needs no worker.' 'doctor' 'Check billing, with a fix for each finding: what was found before, the key, the clock, the...' 'adopt' 'Take over customers, prices and subscriptions that an earlier system made at Stripe.' 'subscriptions' 'Show subscriptions: users and their plans.' 'invoices' 'Show what Stripe charged users.'
        case ' plans subscriptions'
            printf '%s\t%s\n' 'list' 'List subscriptions, including ended ones.' 'show' 'Show a subscription; for a user, the current or most recent one.'
        case ' plans invoices'
            printf '%s\t%s\n' 'list' 'List invoices at Stripe, the newest first.' 'show' 'Show an invoice: its lines, what was paid and refunded, and the page where it can be paid.'
        case ' files'
            printf '%s\t%s\n' 'upload' 'Upload files and folders into a pod; repeating it uploads only new and changed files.' 'reap' 'End what interrupted uploads and transcodes left behind; for cron, safe to repeat.' 'initiate' 'Reserve room for a file, and create links with which a client sends it to the store itself.' 'sign-parts' 'Create new links for parts of a direct upload, and keep its reservation as long as they are valid.' 'progress' 'Show how much of a direct upload the store has.' 'confirm' 'Verify what a client sent, by reading it back, and make it the content of the file.' 'abort' 'End a direct upload: its links stop working, what was sent is removed, and the room is released.' 'list' 'List files.' 'show' 'Show a file, its versions and its renditions.' 'versions' 'List the versions of a file that still exist, latest first.' 'url' 'Create a link to a file or a rendition that needs no login; HLS gets its own playlists.' 'download' 'Download a file, or a folder of files with --owner and --to, and verify every byte.' 'move' 'Give files to another owner; no bytes are moved.' 'relocate' 'Move files into another pod, with their bytes; if interrupted, repeat it.' 'rename' 'Rename a file, or replace the prefix of many paths; no bytes are moved.' 'delete' 'Delete files; until they are purged, they can be restored and use storage.' 'restore' 'Restore deleted files that are not purged yet, or an older version of a file with --version.' 'purge' 'Permanently remove deleted files, old versions and their renditions; if interrupted, repeat it.' 'verify' 'Compare files with their objects in the store, least recently verified first.' 'runs' 'List, show, resume and cancel uploads.'
        case ' files runs'
            printf '%s\t%s\n' 'list' 'List uploads in the order in which they began.' 'show' 'Show an upload with its totals, progress and processes.' 'report' 'List the files that an upload began and did not finish; --results also lists what was refused or...' 'resume' 'Repeat an upload with the sources and options that it had; what is uploaded is not sent again.' 'cancel' 'Cancel uploads: their processes end within seconds and their parts are given up; uploaded files...'
        case ' transcode'
            printf '%s\t%s\n' 'verify' 'Read renditions back from the store: all objects, their hashes, and whether a player gets to the...' 'report' 'Compare published films with their sources: bytes, bit rate, and quality by VMAF, for each...' 'watch' 'Watch transcodes until all have ended; exit 1 if some did not succeed.' 'submit' 'Submit files to be transcoded by a worker; running and finished transcodes are not repeated.' 'plan' 'Show what a preset would make of files, and its cost: sizes, bytes, CPU time, and what the quota...' 'list' 'List transcodes in the order they were submitted.' 'show' 'Show a transcode with its units and renditions.' 'cancel' 'Cancel queued and running transcodes; their quota is released.' 'retry' 'Retry failed, cancelled or quarantined transcodes as new ones; filters without --status select...' 'reap' 'Release the work of dead workers and wake workers for queued units; for cron, safe to repeat.' 'workers' 'List the workers of the last day, and what they work on.' 'presets' 'Manage transcode presets.'
        case ' transcode presets'
            printf '%s\t%s\n' 'create' 'Create a preset from a definition in JSON.' 'list' 'List presets by name.' 'show' 'Show a preset with its definition, which is an example of what `create` takes.' 'update' 'Replace the definition of the preset that it names; transcodes that were submitted keep the one...' 'archive' 'End a preset: what was submitted is still made, and nothing more can be submitted.'
        case ' webhooks'
            printf '%s\t%s\n' 'serve' 'Receive webhooks from Stripe until SIGTERM and store them; `dumacle worker` applies them.' 'events' 'Inspect and retry received events.' 'endpoint' 'Create, check and replace the webhook endpoint at Stripe.'
        case ' webhooks events'
            printf '%s\t%s\n' 'list' 'List events, most recent first.' 'show' 'Show an event with its body and the status of its object.' 'retry' 'Retry events: a worker fetches and applies their objects again.' 'replay' 'Apply settled events again: a worker fetches the present state of their objects.' 'prune' 'Delete old events with their bodies; those that are still to be applied stay.'
        case ' webhooks endpoint'
            printf '%s\t%s\n' 'create' 'Create the webhook endpoint at Stripe, for the events that are used; its secret is shown once.' 'check' 'Check the endpoint at Stripe, the secrets that listeners know, and API versions; exit 1 if...' 'rotate' 'Replace the endpoint, its secret and its API version without a refused delivery.'
        case ' key'
            printf '%s\t%s\n' 'create' 'Create a key after a warning about losing it; existing keys are not overwritten.' 'check' 'Decrypt every credential with the key and list the keys that are needed; exit 12 if one fails.'
        case ' audit'
            printf '%s\t%s\n' 'list' 'List changes, most recent first.' 'show' 'Show a change with each column before and after.' 'export' 'Export all changes with values before and after, oldest first; -o jsonl and csv stream.'
        case ' quotas'
            printf '%s\t%s\n' 'show' 'Show a user\'s limits and remaining amounts.' 'set' 'Set a user\'s own limits; `plan` restores those of their plan.' 'grant' 'Add to a user\'s monthly limits for the current period; for storage, use `set` instead.' 'reset' 'Close all ended periods; for cron, safe to repeat and to run in parallel.' 'adjust' 'Correct what a user used in the current period, or refund some of it.' 'verify' 'Compare usage with the ledger, for 90 days after a period was closed; exit 12 if they differ.' 'history' 'Show the final usage of a user\'s closed periods, most recent first.'
        case ' db'
            printf '%s\t%s\n' 'bootstrap' 'Create the owner\'s role and the database as a superuser (setting admin_database_url); safe to...' 'upgrade' 'Upgrade the database schema, as its owner; after a restore from a backup, create missing roles...' 'downgrade' 'Downgrade the schema as its owner; data of later revisions is lost.' 'current' 'Show the schema\'s revision and pending migrations.' 'revision' 'Create an empty migration; for developers, in a checkout and with an upgraded database.' 'seed' 'Create the first superadmin, showing their password once, and the plans free, starter and pro.' 'check' 'Compare server, schema, tables and functions with this release; exit 1 if they differ.'
        case ' local'
            printf '%s\t%s\n' 'start' 'Start both servers, create the database and write the profile `local`; safe to repeat.' 'stop' 'Stop both servers; their data is kept.' 'status' 'Show status, address and size of both servers without starting them.' 'reset' 'Stop both servers and permanently delete their data: all rows and objects.'
        case ' config'
            printf '%s\t%s\n' 'list' 'List every setting with its value; secrets are masked.' 'path' 'Show which configuration files are read; the first takes precedence.' 'set' 'Write a setting to your configuration file, into a profile if --profile is given.'
        case ' doctor'
            printf '%s\t%s\n' 'rls' 'Check the rights and row-level security in PostgreSQL; exit 1 if a boundary is broken.'
        case ' completion'
            printf '%s\t%s\n' 'show' 'Print the completion script of a shell.' 'install' 'Install the completion script; repeat it after an upgrade.'
    end
end

function __dumacle_options
    switch $argv[1]
        case ' demo'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' auth login'
            printf '%s\t%s\n' '--password-file' 'Read the password from this file; - is standard input.' '--store' 'Where to keep the session (a file gets mode 0600).' '--hours' 'Log in for fewer hours than allowed.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth logout'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' auth passwd'
            printf '%s\t%s\n' '--password-file' 'Read the old and the new password, one per line; only the new one if the URL holds the old.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth sessions list'
            printf '%s\t%s\n' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' auth sessions revoke'
            printf '%s\t%s\n' '--all' 'End all your sessions except this one.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth sessions limit'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users create'
            printf '%s\t%s\n' '--name' 'The user\'s name.' '--role' 'What they may do.' '--plan' 'The plan; users without one cannot upload.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users list'
            printf '%s\t%s\n' '--role' 'Filter by role.' '--status' 'Filter by status.' '--deleted' 'Show deleted users, who can be restored.' '--sort' 'Sort by this column.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' users show'
            printf '%s\t%s\n' '--size' 'Explain why a file of this size is refused: 500MiB, 500MB or bytes.' '--pod' 'Explain why uploads into this pod are refused.'
        case ' users update'
            printf '%s\t%s\n' '--plan' 'Switch to this plan immediately; usage is kept.' '--name' 'The user\'s name.' '--email' 'The new e-mail address.' '--role' 'Their new role.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users disable'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users enable'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users delete'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users purge'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' users import'
            printf '%s\t%s\n' '--format' 'Format of the file, if not clear from its name.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users grant-login'
            printf '%s\t%s\n' '--service' 'A service instead of a user.' '--password-file' 'Read the password from this file (- is stdin); else a random one is shown once.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' users revoke-login'
            printf '%s\t%s\n' '--service' 'A service instead of a user.' '--dry-run' 'Show what would change; change nothing.'
        case ' users set-role'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods replicate'
            printf '%s\t%s\n' '--concurrency' 'Copies at the same time.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods reconcile'
            printf '%s\t%s\n' '--apply' 'Repair: copy what is missing, delete orphans.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods promote'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods probe'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' pods create'
            printf '%s\t%s\n' '--capacity' 'Capacity, such as 500GiB or 500GB; a bare number is bytes.' '--provider' 'Where to store files, if not at the default provider.' '--bucket' 'The bucket; default: the provider\'s setting.' '--secondary' 'Copy everything to this second provider, too.' '--secondary-bucket' 'Its bucket; default: the provider\'s setting.' '--prefix' 'Prefix of its object keys; default: made from its name.' '--allow-types' 'Media types that are accepted: video/*,image/png; or any.' '--max-file-size' 'Largest file, such as 2GiB; or unlimited.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods list'
            printf '%s\t%s\n' '--provider' 'Filter by provider.' '--deleted' 'Show deleted pods, which can be restored.' '--sort' 'Sort by this column.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' pods update'
            printf '%s\t%s\n' '--name' 'The new name; object keys do not change.' '--capacity' 'Capacity, such as 2TiB; a bare number is bytes.' '--secondary' 'Copy everything to this second provider, too.' '--secondary-bucket' 'Its bucket; default: the provider\'s setting.' '--no-secondary' 'Stop copying to the secondary provider; objects stay there.' '--copies-during-uploads' 'Send each file to both providers, or copy it later.' '--copies-by-worker' 'Send each file to both providers, or copy it later.' '--allow-types' 'Media types that are accepted: video/*,image/png; or any.' '--max-file-size' 'Largest file, such as 2GiB; or unlimited.' '--use-custom-s3' 'Use the pod\'s own credential; see: pods credentials.' '--no-use-custom-s3' 'Use the pod\'s own credential; see: pods credentials.' '--use-custom-wasabi' 'Use the pod\'s own credential; see: pods credentials.' '--no-use-custom-wasabi' 'Use the pod\'s own credential; see: pods credentials.' '--use-custom-oracle' 'Use the pod\'s own credential; see: pods credentials.' '--no-use-custom-oracle' 'Use the pod\'s own credential; see: pods credentials.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods grant'
            printf '%s\t%s\n' '--default' 'Make it the user\'s default pod; the first grant always is.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods revoke'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods delete'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods usage'
            printf '%s\t%s\n' '--by-owner' 'Show the usage of each owner.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' pods check'
            printf '%s\t%s\n' '--repair' 'Correct the counters.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods credentials set'
            printf '%s\t%s\n' '--provider' 'The provider that issued the keys.' '--default' 'Use the default credential, of all pods without their own.' '--from' 'Read the keys from this file (- is stdin) instead of asking: two lines, access key and secret key, or JSON with access_key and secret_key.' '--endpoint' 'The provider\'s endpoint.' '--region' 'The bucket\'s region.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' pods credentials show'
            printf '%s\t%s\n' '--default' 'Use the default credential, of all pods without their own.'
        case ' pods credentials test'
            printf '%s\t%s\n' '--provider' 'The provider that issued the keys.' '--default' 'Use the default credential, of all pods without their own.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods credentials clear'
            printf '%s\t%s\n' '--provider' 'The provider that issued the keys.' '--default' 'Use the default credential, of all pods without their own.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods credentials rotate-key'
            printf '%s\t%s\n' '--to' 'The new key: file:/path, credential:NAME or keyring:NAME.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods cors set'
            printf '%s\t%s\n' '--origin' 'Origin of a page, such as https://app.example.com; can be given several times.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods cors check'
            printf '%s\t%s\n' '--origin' 'Origin of a page, such as https://app.example.com; can be given several times; default: all that the rules name.'
        case ' plans create'
            printf '%s\t%s\n' '--price' 'Price per interval, such as 9.99.' '--storage' 'Storage limit: 500GiB, 500GB, bytes or unlimited.' '--upload' 'Monthly upload limit: 500GiB, 500GB, bytes or unlimited.' '--transcode-minutes' 'Monthly transcode limit in minutes, or unlimited.' '--currency' 'Currency code, such as EUR.' '--other-price' 'Price in another currency, such as USD=10.99; repeat it for more.' '--interval' 'Billing interval.' '--default-pod' 'Pod to grant to new subscribers.' '--allow-types' 'Media types that are accepted: video/*,image/png; or any.' '--max-file-size' 'Largest file, such as 2GiB; or unlimited.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans list'
            printf '%s\t%s\n' '--archived' 'Show archived plans.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' plans update'
            printf '%s\t%s\n' '--name' 'The new name.' '--price' 'Price per interval, such as 9.99.' '--currency' 'Currency code, such as EUR.' '--other-price' 'All prices in other currencies; \'\' for none.' '--interval' 'Billing interval.' '--storage' 'Storage limit: 500GiB, 500GB, bytes or unlimited.' '--upload' 'Monthly upload limit: 500GiB, 500GB, bytes or unlimited.' '--transcode-minutes' 'Monthly transcode limit in minutes, or unlimited.' '--default-pod' 'Pod to grant to new subscribers; \'\' for none.' '--allow-types' 'Media types that are accepted: video/*,image/png; or any.' '--max-file-size' 'Largest file, such as 2GiB; or unlimited.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans archive'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans push'
            printf '%s\t%s\n' '--switch-account' 'Sell at another account or mode of Stripe from now on.' '--dry-run' 'Show what would change; change nothing.'
        case ' plans subscribe'
            printf '%s\t%s\n' '--checkout' 'Create a Stripe Checkout link for the user.' '--direct' 'Charge the user\'s saved payment method.' '--coupon' 'The coupon at Stripe that makes it cheaper.' '--trial-days' 'Days before the first charge.' '--currency' 'The currency to pay in; default: the customer\'s own.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans portal'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' plans change'
            printf '%s\t%s\n' '--now' 'Also downgrade now, prorated, not at the end of the paid period.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans cancel'
            printf '%s\t%s\n' '--now' 'End it immediately, not at the end of the paid period.' '--refund' 'With --now: refund the unused share, or all of it.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' plans resume'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' plans refund'
            printf '%s\t%s\n' '--amount' 'How much, such as 5.00; default: all that is left.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' plans sync'
            printf '%s\t%s\n' '--user' 'Only this user: e-mail address or id.' '--customer' 'Only this customer at Stripe.' '--since' 'Only what changed in this time, such as 2h; at most 30d.' '--full' 'Compare customers, too.' '--apply' 'Apply the differences; by default, they are.' '--no-apply' 'Apply the differences; by default, they are.' '--max' 'Let this many subscriptions end; default: 10 or a tenth, and of vanished ones 1 or a tenth.' '--dry-run' 'Show what would change; change nothing.'
        case ' plans adopt'
            printf '%s\t%s\n' '--metadata' 'Key of customers\' metadata with the user\'s id or e-mail.' '--email' 'Match customers and users by e-mail address.' '--price' 'The plan that a price at Stripe pays for.' '--apply' 'Adopt what is clear; without it, only report.' '--dry-run' 'Show what would change; change nothing.'
        case ' plans subscriptions list'
            printf '%s\t%s\n' '--status' 'Filter by status.' '--plan' 'Filter by plan.' '--user' 'Filter by user: e-mail address or id.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' plans invoices list'
            printf '%s\t%s\n' '--user' 'Filter by user: e-mail address or id.'
        case ' files upload'
            printf '%s\t%s\n' '--owner' 'The owner: e-mail address or id.' '--pod' 'The pod; default: the owner\'s default pod.' '--results' 'Write the result of each file here.' '--stop-after' 'Stop after N failures; 0 never stops.' '--checksum' 'Compare contents, not only size and time.' '--force' 'Upload unchanged files, too.' '--on-change' 'Other content at a path becomes a version, or.' '--dedupe' 'Store contents once that the owner has in the pod already.' '--delete-source' 'Delete source files that are proven stored.' '--yes' 'Do not ask before sources are deleted.' '-y' 'Do not ask before sources are deleted.' '--join' 'Share the work with processes that run the same upload, on any machine.' '--concurrency' 'Most small files sent at once.' '--bandwidth' 'Most bytes to send in a second, such as 50MiB.' '--transcode' 'Transcode uploaded videos (and audio, for audio).' '--progress' 'Write a line a second without a terminal, too.' '--include' 'Take only what matches.' '--exclude' 'Leave out what matches.' '--min-size' 'Only this size or larger.' '--max-size' 'Only this size or smaller.' '--newer-than' 'Only modified since then.' '--older-than' 'Only modified before then.' '--no-hidden' 'Leave out names that start with a dot.' '--links' 'Symbolic links in folders.' '--allow-empty' 'Accept folders without files.' '--prefix' 'Put this before each path.' '--keep-name' 'Keep the names of the given folders.' '--flatten' 'Drop all folders from the paths.' '--files-from' 'Take the listed files; - is standard input.' '--null' 'The list has NUL after each path.' '-0' 'The list has NUL after each path.' '--manifest' 'CSV or JSONL: path, key, content_type.' '--stdin-name' 'Upload standard input to this path.' '--dry-run' 'Show what would change; change nothing.'
        case ' files reap'
            printf '%s\t%s\n' '--older-than' 'Keep parts of large files for this long; default: resume_days.' '--dry-run' 'Show what would change; change nothing.'
        case ' files initiate'
            printf '%s\t%s\n' '--owner' 'The owner: e-mail address or id.' '--size' 'The exact size; a bare number is bytes.' '--type' 'The media type, such as video/mp4.' '--pod' 'The pod; default: the owner\'s default pod.' '--sha256' 'The SHA-256 that the content must have.' '--md5' 'The MD5, which the store then enforces for a file sent whole.' '--parts' 'Send the file in parts, each with its own link.' '--part-size' 'Size of each part, 5MiB to 5GiB; implies --parts.' '--expires' 'Lifetime of links and reservation, up to 1d: 15min, 1h.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' files sign-parts'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--parts' 'Parts such as 3,7-20; default: the next 100 missing ones.' '--expires' 'Lifetime of links and reservation, up to 1d: 15min, 1h.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' files progress'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.'
        case ' files confirm'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--sha256' 'The SHA-256 that the content must have.' '--transcode' 'Transcode a video (and audio, for the preset audio).' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' files abort'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' files list'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix, sorted by path; needs --owner or --pod.' '--status' 'Filter by upload status.' '--deleted' 'Show deleted files, which can be restored, sorted by deletion.' '--sort' 'Sort order (path and size need --owner or --pod).' '--desc' 'Sort descending.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' files show'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--watch' 'Wait until the upload has finished.'
        case ' files versions'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.'
        case ' files url'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--rendition' 'Link to a rendition, such as hls; see: files show.' '--expires' 'Lifetime of the link, up to 7d: 90s, 15min, 1h, 7d.' '--version' 'Use this version; see: files versions.' '--download' 'Have browsers save media instead of showing it.' '--dry-run' 'Show what would change; change nothing.'
        case ' files download'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--to' 'File, folder or pipe to write to; default: the file\'s name; - is standard output.' '--force' 'Overwrite regular files with different content.' '--status' 'Filter by upload status.' '--older-than' 'Only files created before this age: 90s, 15min, 12h, 365d, 2w, 12mo, 1y.' '--version' 'Use this version; see: files versions.'
        case ' files move'
            printf '%s\t%s\n' '--to-owner' 'The new owner: e-mail address or id.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' files relocate'
            printf '%s\t%s\n' '--to-pod' 'The new pod: name or id.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--dry-run' 'Show what would change; change nothing.' '--max' 'Refuse to change more than this many items.'
        case ' files rename'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--to' 'Replaces --prefix in the paths.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' files delete'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--older-than' 'Only files created before this age: 90s, 15min, 12h, 365d, 2w, 12mo, 1y.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.' '--max' 'Refuse to change more than this many items.'
        case ' files restore'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--version' 'Use this version; see: files versions.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' files purge'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--older-than' 'Only files deleted before this age: 90s, 15min, 12h, 365d, 2w, 12mo, 1y; default: retention_days.' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.' '--max' 'Refuse to change more than this many items.'
        case ' files verify'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--read' 'Read all bytes and compare SHA-256.' '--limit' 'Verify at most this many files; default: 1000.' '--slice' 'Verify all files of the I-th of N parts, such as 2/7.' '--sample' 'Verify this many files, chosen at random.' '--full' 'Verify all files.' '--dry-run' 'Show what would change; change nothing.'
        case ' files runs list'
            printf '%s\t%s\n' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--status' 'Filter by status.' '--desc' 'Sort descending.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' files runs report'
            printf '%s\t%s\n' '--status' 'Filter by upload status.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' files runs resume'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' files runs cancel'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' transcode verify'
            printf '%s\t%s\n' '--preset' 'Filter by preset.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--apply' 'Copy what is lost from the pod\'s other provider, or transcode it again.' '--dry-run' 'Show what would change; change nothing.'
        case ' transcode report'
            printf '%s\t%s\n' '--file' 'Those of a file: id, or path with --owner.' '--rung' 'Only this picture size, such as 720p.' '--preset' 'Filter by preset.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.'
        case ' transcode submit'
            printf '%s\t%s\n' '--preset' 'The preset to use.' '--missing' 'Instead of FILE: all files of the filters never transcoded with this preset.' '--damage' 'What to do about damage in the source; up to 1 % can be repaired.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.' '--priority' 'Higher ones are transcoded first.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' transcode plan'
            printf '%s\t%s\n' '--preset' 'The preset to plan with.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--prefix' 'Filter by path prefix.'
        case ' transcode list'
            printf '%s\t%s\n' '--status' 'Filter by status.' '--preset' 'Filter by preset.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--file' 'Filter by file: id, or path with --owner.' '--desc' 'Sort descending.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' transcode cancel'
            printf '%s\t%s\n' '--status' 'Filter by status.' '--preset' 'Filter by preset.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--unit' 'The transcode of a unit, as worker logs name it.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' transcode retry'
            printf '%s\t%s\n' '--status' 'Filter by status.' '--preset' 'Filter by preset.' '--owner' 'The owner of the files: e-mail address or id.' '--pod' 'Filter by pod: name or id.' '--unit' 'The transcode of a unit, as worker logs name it.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' transcode reap'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' transcode presets create'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' transcode presets update'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' transcode presets archive'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' webhooks events list'
            printf '%s\t%s\n' '--status' 'Filter by status.' '--object' 'Filter by object, such as sub_1.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' webhooks events retry'
            printf '%s\t%s\n' '--status' 'Filter by status; default: both.' '--type' 'Filter by type, such as invoice.' '--older-than' 'Only events received before this age, such as 2h or 30d.' '--all-failed' 'All events that failed.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' webhooks events replay'
            printf '%s\t%s\n' '--status' 'Filter by status; default: all three.' '--type' 'Filter by type, such as invoice.' '--older-than' 'Only events received before this age, such as 2h or 30d.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--max' 'Refuse to change more than this many items.'
        case ' webhooks events prune'
            printf '%s\t%s\n' '--older-than' 'Only events received before this age, such as 90d.' '--status' 'Filter by status; default: settled ones.' '--type' 'Filter by type, such as invoice.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.' '--yes' 'Do not ask.' '-y' 'Do not ask.' '--max' 'Refuse to change more than this many items.'
        case ' webhooks endpoint create'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' webhooks endpoint rotate'
            printf '%s\t%s\n' '--finish' 'Use the new endpoint and delete the old one.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' worker'
            printf '%s\t%s\n' '--queues' 'Comma-separated: transcode, light (posters, sprites and sound alone), copies, hooks, webhooks.' '--slots' 'Parallel units; default: the worker_slots setting.' '--once' 'Exit when the queues are empty.' '--drain-timeout' 'How long running units may continue after SIGTERM.'
        case ' key create'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' audit list'
            printf '%s\t%s\n' '--actor' 'Filter by user: e-mail address or id.' '--login' 'Filter by login.' '--target' 'Filter by table, or by row such as users:7 or users:EMAIL.' '--action' 'Filter by kind of change.' '--operation' 'Filter by operation id.' '--since' 'Start: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y.' '--until' 'End, in the same formats.' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' audit export'
            printf '%s\t%s\n' '--actor' 'Filter by user: e-mail address or id.' '--login' 'Filter by login.' '--target' 'Filter by table, or by row such as users:7 or users:EMAIL.' '--action' 'Filter by kind of change.' '--operation' 'Filter by operation id.' '--since' 'Start: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y.' '--until' 'End, in the same formats.'
        case ' quotas set'
            printf '%s\t%s\n' '--storage' 'Storage limit: 500GiB, 500GB, bytes, unlimited or plan.' '--upload' 'Monthly upload limit: 500GiB, 500GB, bytes, unlimited or plan.' '--transcode-minutes' 'Monthly transcode limit in minutes, unlimited or plan.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' quotas grant'
            printf '%s\t%s\n' '--upload' 'Additional upload: 5GiB, 5GB or bytes.' '--transcode-minutes' 'Additional transcode minutes.' '--reason' 'The reason, stored with the grant.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' quotas reset'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' quotas adjust'
            printf '%s\t%s\n' '--upload' 'Upload to add, or with a minus to give back: -5GiB.' '--transcode-minutes' 'Minutes to add, or with a minus to give back.' '--reason' 'The reason, stored in the ledger.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' quotas history'
            printf '%s\t%s\n' '--limit' 'Rows per page.' '--after' 'Continue after the page that printed this token.' '--all' 'Print all rows, as a stream.'
        case ' db bootstrap'
            printf '%s\t%s\n' '--password-file' 'File with the owner\'s password, created at random if missing; - is stdin.' '--database' 'Name of the database.' '--owner' 'Name of the owner\'s role.' '--dry-run' 'Show what would change; change nothing.'
        case ' db upgrade'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' db downgrade'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' db revision'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' db seed'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this change; the same id again has no further effect.'
        case ' local start'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' local stop'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' local reset'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' config list'
            printf '%s\t%s\n' '--show-origin' 'Also show where each value came from.'
        case ' config set'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' completion install'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case 'everywhere'
            printf '%s\t%s\n' '--output' 'Output format.' '-o' 'Output format.' '--profile' 'Use a profile of the configuration file.' '--set' 'Override a setting; not for secrets.' '--timeout' 'Give up after this long; 0: never.' '--verbose' 'Show how long it took; -vv: also each SQL statement.' '-v' 'Show how long it took; -vv: also each SQL statement.' '--quiet' 'Print nothing on success.' '-q' 'Print nothing on success.' '--log-format' 'Format of the log on standard error.' '--color' 'When to use colour (auto respects NO_COLOR).' '--help' 'Show help.'
    end
end

# The values of an option; fails where it takes none.
function __dumacle_values
    switch $argv[1]
        case ' auth login --password-file'
            printf '%s\t%s\n' '@files' ''
        case ' auth login --store'
            printf '%s\t%s\n' 'keyring' '' 'file' ''
        case ' auth login --hours'
            true
        case ' auth passwd --password-file'
            printf '%s\t%s\n' '@files' ''
        case ' auth sessions list --limit'
            true
        case ' auth sessions list --after'
            true
        case ' auth sessions limit --op-id'
            true
        case ' users create --name'
            true
        case ' users create --role'
            printf '%s\t%s\n' 'superadmin' '' 'admin' '' 'enduser' '' 'service' ''
        case ' users create --plan'
            true
        case ' users create --op-id'
            true
        case ' users list --role'
            printf '%s\t%s\n' 'superadmin' '' 'admin' '' 'enduser' '' 'service' ''
        case ' users list --status'
            printf '%s\t%s\n' 'active' '' 'disabled' ''
        case ' users list --sort'
            printf '%s\t%s\n' 'id' '' 'email' ''
        case ' users list --limit'
            true
        case ' users list --after'
            true
        case ' users show --size'
            true
        case ' users show --pod'
            true
        case ' users update --plan'
            true
        case ' users update --name'
            true
        case ' users update --email'
            true
        case ' users update --role'
            printf '%s\t%s\n' 'superadmin' '' 'admin' '' 'enduser' '' 'service' ''
        case ' users update --op-id'
            true
        case ' users disable --op-id'
            true
        case ' users enable --op-id'
            true
        case ' users delete --op-id'
            true
        case ' users restore --op-id'
            true
        case ' users purge --op-id'
            true
        case ' users import --format'
            printf '%s\t%s\n' 'csv' '' 'jsonl' ''
        case ' users import --op-id'
            true
        case ' users grant-login --service'
            printf '%s\t%s\n' 'worker' '' 'listener' '' 'cron' '' 'ingest' ''
        case ' users grant-login --password-file'
            printf '%s\t%s\n' '@files' ''
        case ' users grant-login --op-id'
            true
        case ' users revoke-login --service'
            printf '%s\t%s\n' 'worker' '' 'listener' '' 'cron' '' 'ingest' ''
        case ' users set-role --op-id'
            true
        case ' pods replicate --concurrency'
            true
        case ' pods promote --op-id'
            true
        case ' pods create --capacity'
            true
        case ' pods create --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' '' 'local' ''
        case ' pods create --bucket'
            true
        case ' pods create --secondary'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' '' 'local' ''
        case ' pods create --secondary-bucket'
            true
        case ' pods create --prefix'
            true
        case ' pods create --allow-types'
            true
        case ' pods create --max-file-size'
            true
        case ' pods create --op-id'
            true
        case ' pods list --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' '' 'local' ''
        case ' pods list --sort'
            printf '%s\t%s\n' 'id' '' 'name' ''
        case ' pods list --limit'
            true
        case ' pods list --after'
            true
        case ' pods update --name'
            true
        case ' pods update --capacity'
            true
        case ' pods update --secondary'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' '' 'local' ''
        case ' pods update --secondary-bucket'
            true
        case ' pods update --allow-types'
            true
        case ' pods update --max-file-size'
            true
        case ' pods update --op-id'
            true
        case ' pods grant --op-id'
            true
        case ' pods revoke --op-id'
            true
        case ' pods delete --op-id'
            true
        case ' pods restore --op-id'
            true
        case ' pods usage --limit'
            true
        case ' pods usage --after'
            true
        case ' pods check --op-id'
            true
        case ' pods credentials set --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' ''
        case ' pods credentials set --from'
            printf '%s\t%s\n' '@files' ''
        case ' pods credentials set --endpoint'
            true
        case ' pods credentials set --region'
            true
        case ' pods credentials set --op-id'
            true
        case ' pods credentials test --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' ''
        case ' pods credentials clear --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' ''
        case ' pods credentials clear --op-id'
            true
        case ' pods credentials rotate-key --to'
            true
        case ' pods cors set --origin'
            true
        case ' pods cors check --origin'
            true
        case ' plans create --price'
            true
        case ' plans create --storage'
            true
        case ' plans create --upload'
            true
        case ' plans create --transcode-minutes'
            true
        case ' plans create --currency'
            true
        case ' plans create --other-price'
            true
        case ' plans create --interval'
            printf '%s\t%s\n' 'month' '' 'year' ''
        case ' plans create --default-pod'
            true
        case ' plans create --allow-types'
            true
        case ' plans create --max-file-size'
            true
        case ' plans create --op-id'
            true
        case ' plans list --limit'
            true
        case ' plans list --after'
            true
        case ' plans update --name'
            true
        case ' plans update --price'
            true
        case ' plans update --currency'
            true
        case ' plans update --other-price'
            true
        case ' plans update --interval'
            printf '%s\t%s\n' 'month' '' 'year' ''
        case ' plans update --storage'
            true
        case ' plans update --upload'
            true
        case ' plans update --transcode-minutes'
            true
        case ' plans update --default-pod'
            true
        case ' plans update --allow-types'
            true
        case ' plans update --max-file-size'
            true
        case ' plans update --op-id'
            true
        case ' plans archive --op-id'
            true
        case ' plans restore --op-id'
            true
        case ' plans subscribe --coupon'
            true
        case ' plans subscribe --trial-days'
            true
        case ' plans subscribe --currency'
            true
        case ' plans subscribe --op-id'
            true
        case ' plans change --op-id'
            true
        case ' plans cancel --refund'
            printf '%s\t%s\n' 'none' '' 'prorated' '' 'full' ''
        case ' plans cancel --op-id'
            true
        case ' plans resume --op-id'
            true
        case ' plans refund --amount'
            true
        case ' plans refund --op-id'
            true
        case ' plans sync --user'
            true
        case ' plans sync --customer'
            true
        case ' plans sync --since'
            true
        case ' plans sync --max'
            true
        case ' plans adopt --metadata'
            true
        case ' plans adopt --price'
            true
        case ' plans subscriptions list --status'
            printf '%s\t%s\n' 'active' '' 'trialing' '' 'past_due' '' 'unpaid' '' 'canceled' '' 'incomplete' '' 'incomplete_expired' '' 'paused' ''
        case ' plans subscriptions list --plan'
            true
        case ' plans subscriptions list --user'
            true
        case ' plans subscriptions list --limit'
            true
        case ' plans subscriptions list --after'
            true
        case ' plans invoices list --user'
            true
        case ' files upload --owner'
            true
        case ' files upload --pod'
            true
        case ' files upload --results'
            printf '%s\t%s\n' '@files' ''
        case ' files upload --stop-after'
            true
        case ' files upload --on-change'
            printf '%s\t%s\n' 'version' '' 'keep' '' 'fail' ''
        case ' files upload --concurrency'
            true
        case ' files upload --bandwidth'
            true
        case ' files upload --transcode'
            true
        case ' files upload --include'
            true
        case ' files upload --exclude'
            true
        case ' files upload --min-size'
            true
        case ' files upload --max-size'
            true
        case ' files upload --newer-than'
            true
        case ' files upload --older-than'
            true
        case ' files upload --links'
            printf '%s\t%s\n' 'skip' '' 'follow' ''
        case ' files upload --prefix'
            true
        case ' files upload --files-from'
            printf '%s\t%s\n' '@files' ''
        case ' files upload --manifest'
            printf '%s\t%s\n' '@files' ''
        case ' files upload --stdin-name'
            true
        case ' files reap --older-than'
            true
        case ' files initiate --owner'
            true
        case ' files initiate --size'
            true
        case ' files initiate --type'
            true
        case ' files initiate --pod'
            true
        case ' files initiate --sha256'
            true
        case ' files initiate --md5'
            true
        case ' files initiate --part-size'
            true
        case ' files initiate --expires'
            true
        case ' files initiate --op-id'
            true
        case ' files sign-parts --owner'
            true
        case ' files sign-parts --pod'
            true
        case ' files sign-parts --parts'
            true
        case ' files sign-parts --expires'
            true
        case ' files sign-parts --op-id'
            true
        case ' files progress --owner'
            true
        case ' files progress --pod'
            true
        case ' files confirm --owner'
            true
        case ' files confirm --pod'
            true
        case ' files confirm --sha256'
            true
        case ' files confirm --transcode'
            true
        case ' files confirm --op-id'
            true
        case ' files abort --owner'
            true
        case ' files abort --pod'
            true
        case ' files abort --op-id'
            true
        case ' files list --owner'
            true
        case ' files list --pod'
            true
        case ' files list --prefix'
            true
        case ' files list --status'
            printf '%s\t%s\n' 'planned' '' 'uploading' '' 'completing' '' 'uploaded' '' 'verified' '' 'changed' '' 'refused' '' 'cancelled' '' 'failed' ''
        case ' files list --sort'
            printf '%s\t%s\n' 'created' '' 'path' '' 'size' ''
        case ' files list --limit'
            true
        case ' files list --after'
            true
        case ' files show --owner'
            true
        case ' files show --pod'
            true
        case ' files versions --owner'
            true
        case ' files versions --pod'
            true
        case ' files url --owner'
            true
        case ' files url --pod'
            true
        case ' files url --rendition'
            true
        case ' files url --expires'
            true
        case ' files url --version'
            true
        case ' files download --owner'
            true
        case ' files download --pod'
            true
        case ' files download --prefix'
            true
        case ' files download --to'
            true
        case ' files download --status'
            printf '%s\t%s\n' 'planned' '' 'uploading' '' 'completing' '' 'uploaded' '' 'verified' '' 'changed' '' 'refused' '' 'cancelled' '' 'failed' ''
        case ' files download --older-than'
            true
        case ' files download --version'
            true
        case ' files move --to-owner'
            true
        case ' files move --owner'
            true
        case ' files move --pod'
            true
        case ' files move --prefix'
            true
        case ' files move --op-id'
            true
        case ' files move --max'
            true
        case ' files relocate --to-pod'
            true
        case ' files relocate --owner'
            true
        case ' files relocate --pod'
            true
        case ' files relocate --prefix'
            true
        case ' files relocate --max'
            true
        case ' files rename --owner'
            true
        case ' files rename --pod'
            true
        case ' files rename --prefix'
            true
        case ' files rename --to'
            true
        case ' files rename --op-id'
            true
        case ' files rename --max'
            true
        case ' files delete --owner'
            true
        case ' files delete --pod'
            true
        case ' files delete --prefix'
            true
        case ' files delete --older-than'
            true
        case ' files delete --op-id'
            true
        case ' files delete --max'
            true
        case ' files restore --owner'
            true
        case ' files restore --pod'
            true
        case ' files restore --prefix'
            true
        case ' files restore --version'
            true
        case ' files restore --op-id'
            true
        case ' files restore --max'
            true
        case ' files purge --owner'
            true
        case ' files purge --pod'
            true
        case ' files purge --prefix'
            true
        case ' files purge --older-than'
            true
        case ' files purge --max'
            true
        case ' files verify --owner'
            true
        case ' files verify --pod'
            true
        case ' files verify --prefix'
            true
        case ' files verify --limit'
            true
        case ' files verify --slice'
            true
        case ' files verify --sample'
            true
        case ' files runs list --owner'
            true
        case ' files runs list --pod'
            true
        case ' files runs list --status'
            printf '%s\t%s\n' 'running' '' 'done' '' 'partial' '' 'failed' '' 'interrupted' '' 'cancelled' ''
        case ' files runs list --limit'
            true
        case ' files runs list --after'
            true
        case ' files runs report --status'
            printf '%s\t%s\n' 'uploading' '' 'completing' '' 'changed' '' 'refused' '' 'cancelled' '' 'failed' ''
        case ' files runs report --limit'
            true
        case ' files runs report --after'
            true
        case ' files runs cancel --op-id'
            true
        case ' transcode verify --preset'
            true
        case ' transcode verify --owner'
            true
        case ' transcode verify --pod'
            true
        case ' transcode report --file'
            printf '%s\t%s\n' '@files' ''
        case ' transcode report --rung'
            true
        case ' transcode report --preset'
            true
        case ' transcode report --owner'
            true
        case ' transcode report --pod'
            true
        case ' transcode submit --preset'
            true
        case ' transcode submit --missing'
            true
        case ' transcode submit --damage'
            printf '%s\t%s\n' 'refuse' '' 'repair' ''
        case ' transcode submit --owner'
            true
        case ' transcode submit --pod'
            true
        case ' transcode submit --prefix'
            true
        case ' transcode submit --priority'
            true
        case ' transcode submit --op-id'
            true
        case ' transcode submit --max'
            true
        case ' transcode plan --preset'
            true
        case ' transcode plan --owner'
            true
        case ' transcode plan --pod'
            true
        case ' transcode plan --prefix'
            true
        case ' transcode list --status'
            printf '%s\t%s\n' 'queued' '' 'running' '' 'publishing' '' 'done' '' 'failed' '' 'cancelled' '' 'quarantined' ''
        case ' transcode list --preset'
            true
        case ' transcode list --owner'
            true
        case ' transcode list --pod'
            true
        case ' transcode list --file'
            printf '%s\t%s\n' '@files' ''
        case ' transcode list --limit'
            true
        case ' transcode list --after'
            true
        case ' transcode cancel --status'
            printf '%s\t%s\n' 'queued' '' 'running' '' 'publishing' '' 'done' '' 'failed' '' 'cancelled' '' 'quarantined' ''
        case ' transcode cancel --preset'
            true
        case ' transcode cancel --owner'
            true
        case ' transcode cancel --pod'
            true
        case ' transcode cancel --unit'
            true
        case ' transcode cancel --op-id'
            true
        case ' transcode cancel --max'
            true
        case ' transcode retry --status'
            printf '%s\t%s\n' 'queued' '' 'running' '' 'publishing' '' 'done' '' 'failed' '' 'cancelled' '' 'quarantined' ''
        case ' transcode retry --preset'
            true
        case ' transcode retry --owner'
            true
        case ' transcode retry --pod'
            true
        case ' transcode retry --unit'
            true
        case ' transcode retry --op-id'
            true
        case ' transcode retry --max'
            true
        case ' transcode reap --op-id'
            true
        case ' transcode presets create --op-id'
            true
        case ' transcode presets update --op-id'
            true
        case ' transcode presets archive --op-id'
            true
        case ' webhooks events list --status'
            printf '%s\t%s\n' 'received' '' 'applied' '' 'ignored' '' 'foreign' '' 'parked' '' 'dead' ''
        case ' webhooks events list --object'
            true
        case ' webhooks events list --limit'
            true
        case ' webhooks events list --after'
            true
        case ' webhooks events retry --status'
            printf '%s\t%s\n' 'dead' '' 'parked' ''
        case ' webhooks events retry --type'
            true
        case ' webhooks events retry --older-than'
            true
        case ' webhooks events retry --op-id'
            true
        case ' webhooks events retry --max'
            true
        case ' webhooks events replay --status'
            printf '%s\t%s\n' 'applied' '' 'ignored' '' 'foreign' ''
        case ' webhooks events replay --type'
            true
        case ' webhooks events replay --older-than'
            true
        case ' webhooks events replay --op-id'
            true
        case ' webhooks events replay --max'
            true
        case ' webhooks events prune --older-than'
            true
        case ' webhooks events prune --status'
            printf '%s\t%s\n' 'applied' '' 'ignored' '' 'foreign' '' 'dead' ''
        case ' webhooks events prune --type'
            true
        case ' webhooks events prune --op-id'
            true
        case ' webhooks events prune --max'
            true
        case ' webhooks endpoint create --op-id'
            true
        case ' webhooks endpoint rotate --op-id'
            true
        case ' worker --queues'
            true
        case ' worker --slots'
            true
        case ' worker --drain-timeout'
            true
        case ' audit list --actor'
            true
        case ' audit list --login'
            true
        case ' audit list --target'
            true
        case ' audit list --action'
            printf '%s\t%s\n' 'insert' '' 'update' '' 'delete' ''
        case ' audit list --operation'
            true
        case ' audit list --since'
            true
        case ' audit list --until'
            true
        case ' audit list --limit'
            true
        case ' audit list --after'
            true
        case ' audit export --actor'
            true
        case ' audit export --login'
            true
        case ' audit export --target'
            true
        case ' audit export --action'
            printf '%s\t%s\n' 'insert' '' 'update' '' 'delete' ''
        case ' audit export --operation'
            true
        case ' audit export --since'
            true
        case ' audit export --until'
            true
        case ' quotas set --storage'
            true
        case ' quotas set --upload'
            true
        case ' quotas set --transcode-minutes'
            true
        case ' quotas set --op-id'
            true
        case ' quotas grant --upload'
            true
        case ' quotas grant --transcode-minutes'
            true
        case ' quotas grant --reason'
            true
        case ' quotas grant --op-id'
            true
        case ' quotas reset --op-id'
            true
        case ' quotas adjust --upload'
            true
        case ' quotas adjust --transcode-minutes'
            true
        case ' quotas adjust --reason'
            true
        case ' quotas adjust --op-id'
            true
        case ' quotas history --limit'
            true
        case ' quotas history --after'
            true
        case ' db bootstrap --password-file'
            printf '%s\t%s\n' '@files' ''
        case ' db bootstrap --database'
            true
        case ' db bootstrap --owner'
            true
        case ' db seed --op-id'
            true
        case 'everywhere --output'
            printf '%s\t%s\n' 'table' '' 'json' '' 'jsonl' '' 'csv' ''
        case 'everywhere -o'
            printf '%s\t%s\n' 'table' '' 'json' '' 'jsonl' '' 'csv' ''
        case 'everywhere --profile'
            true
        case 'everywhere --set'
            true
        case 'everywhere --timeout'
            true
        case 'everywhere --log-format'
            printf '%s\t%s\n' 'text' '' 'json' ''
        case 'everywhere --color'
            printf '%s\t%s\n' 'auto' '' 'always' '' 'never' ''
        case '*'
            return 1
    end
end

function __dumacle_arguments
    switch $argv[1]
        case ' demo'
            printf '%s\t%s\n' '@files' ''
        case ' users import'
            printf '%s\t%s\n' '@files' ''
        case ' users set-role'
            printf '%s\t%s\n' 'superadmin' '' 'admin' '' 'enduser' ''
        case ' files upload'
            printf '%s\t%s\n' '@files' ''
        case ' files sign-parts'
            printf '%s\t%s\n' '@files' ''
        case ' files progress'
            printf '%s\t%s\n' '@files' ''
        case ' files confirm'
            printf '%s\t%s\n' '@files' ''
        case ' files abort'
            printf '%s\t%s\n' '@files' ''
        case ' files show'
            printf '%s\t%s\n' '@files' ''
        case ' files versions'
            printf '%s\t%s\n' '@files' ''
        case ' files url'
            printf '%s\t%s\n' '@files' ''
        case ' files download'
            printf '%s\t%s\n' '@files' ''
        case ' files move'
            printf '%s\t%s\n' '@files' ''
        case ' files relocate'
            printf '%s\t%s\n' '@files' ''
        case ' files rename'
            printf '%s\t%s\n' '@files' ''
        case ' files delete'
            printf '%s\t%s\n' '@files' ''
        case ' files restore'
            printf '%s\t%s\n' '@files' ''
        case ' files purge'
            printf '%s\t%s\n' '@files' ''
        case ' files verify'
            printf '%s\t%s\n' '@files' ''
        case ' transcode submit'
            printf '%s\t%s\n' '@files' ''
        case ' transcode plan'
            printf '%s\t%s\n' '@files' ''
        case ' completion show'
            printf '%s\t%s\n' 'bash' '' 'zsh' '' 'fish' '' 'powershell' ''
        case ' completion install'
            printf '%s\t%s\n' 'bash' '' 'zsh' '' 'fish' '' 'powershell' ''
    end
end

function __dumacle_at
    set -l at ''
    set -l skip ''
    for word in $argv
        if test -n "$skip"
            set skip ''
        else if string match -q -- '-*' $word
            if __dumacle_values "$at $word" >/dev/null; or __dumacle_values "everywhere $word" >/dev/null
                set skip yes
            end
        else if __dumacle_children "$at" | string match -q -- "$word"\t'*'
            set at "$at $word"
        end
    end
    echo -- "$at"
end

function __dumacle_found
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l at (__dumacle_at $typed[2..-1])
    set -l prev $typed[-1]
    if __dumacle_values "$at $prev"; or __dumacle_values "everywhere $prev"
        return
    end
    if string match -q -- '-*' $current
        __dumacle_options "$at"
        __dumacle_options everywhere
    else
        __dumacle_children "$at"
        __dumacle_arguments "$at"
    end
end

function __dumacle
    set -l found (__dumacle_found)
    if string match -q -- '@files*' $found
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $found
    end
end

complete -c dumacle -f -a '(__dumacle)'
