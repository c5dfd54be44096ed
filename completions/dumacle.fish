# fish completion for dumacle, made by: dumacle completion show fish

function __dumacle_children
    switch $argv[1]
        case ''
            printf '%s\t%s\n' 'demo' 'Show the whole product on this machine: servers, users, plans, uploads, links, a transcode, quotas.' 'auth' 'Log in and out; who one is, and where one is logged in.' 'users' 'Create, look at, change and remove users.' 'pods' 'Storage pods: capacity, providers, grants.' 'plans' 'What is sold: prices and limits.' 'files' 'Upload, list, link, download, move and remove files.' 'transcode' 'Turn uploaded video and sound into what players take.' 'webhooks' 'Listen to Stripe; look at what it delivered.' 'worker' 'Transcode what was submitted, and apply what Stripe reported, until SIGTERM.' 'key' 'The key that credentials are encrypted with.' 'audit' 'Who changed what, when and how; for superadmins.' 'quotas' 'Monthly limits and their counters.' 'db' 'The database: bootstrap, schema, seed, check.' 'local' 'The embedded PostgreSQL and S3 server on this machine.' 'config' 'Show and change settings.' 'doctor' 'Check everything Dumacle depends on, with a fix for each finding; exit 1 where something failed.' 'schema' 'Print the JSON Schema of a command\'s output, or the names of all schemas.' 'completion' 'Shell completion for bash, zsh, fish and PowerShell.'
        case ' auth'
            printf '%s\t%s\n' 'login' 'Log in with your own password, which is not kept: a session is, and it expires.' 'logout' 'End your session at the server and forget it here, also one that expired.' 'whoami' 'Show who you are to the database.' 'status' 'Show where your password comes from, and whether the server takes it; exit 4 where it does not.' 'passwd' 'Change your own password; sessions that are open stay so.' 'sessions' 'Sessions that are open.'
        case ' auth sessions'
            printf '%s\t%s\n' 'list' 'List your open sessions; admins see those of everybody.' 'revoke' 'End a session and what runs in it at once.' 'limit' 'Say how long a session of anybody may last; those that are open keep their end.'
        case ' users'
            printf '%s\t%s\n' 'create' 'Create a user; a plan\'s default pod is granted with it.' 'list' 'List users.' 'show' 'Show a user with plan, pods and quotas, and why they cannot upload.' 'update' 'Change a user\'s plan, name, e-mail address or role; another role ends what `set-role` says.' 'disable' 'Keep a user from doing anything; what is his stays.' 'enable' 'Let a disabled user act again.' 'delete' 'Disable and hide a user; his files stay, and `restore` brings him back.' 'restore' 'Bring a deleted user back, enabled.' 'purge' 'Erase a user with all files for good; killed in the middle, it goes on when repeated.' 'import' 'Create many users, one a line; who exists is left as he is, and exit 3 says that some lines failed.' 'grant-login' 'Let a user or a service log in to PostgreSQL; who could already gets a new password.' 'revoke-login' 'End all logins of a user or a service, and what runs in them, at once.' 'set-role' 'Give a user another role: sessions and all that runs end, and with a higher role the password is...'
        case ' pods'
            printf '%s\t%s\n' 'create' 'Create a pod.' 'list' 'List pods.' 'show' 'Show a pod and the first hundred users it is granted to.' 'update' 'Change a pod; before it uses other keys these are proven against its bucket.' 'grant' 'Let a user upload into a pod.' 'revoke' 'Let a user no longer upload into a pod; files that are there stay.' 'delete' 'Delete a pod softly: it refuses uploads and grants until it is restored.' 'restore' 'Bring a deleted pod back.' 'usage' 'Show how full pods are; what is deleted but not purged counts.' 'check' 'Compare the counters of pods and quotas with what is stored; exit 12 where they differ.' 'credentials' 'Keys to a provider: a pod\'s own, or the system\'s default.'
        case ' pods credentials'
            printf '%s\t%s\n' 'set' 'Encrypt keys and keep them; where the pod uses its own already, they are proven first.' 'show' 'Show the credentials of a pod or of the system, less what is secret.' 'test' 'Prove a credential against the bucket: put, get and delete an object.' 'clear' 'Delete a credential; refused while the pod uses it.' 'rotate-key' 'Wrap all credentials by a new key; killed and repeated it goes on where it was.'
        case ' plans'
            printf '%s\t%s\n' 'create' 'Create a plan.' 'list' 'List plans by name.' 'show' 'Show a plan, with how many live subscriptions it has.' 'update' 'Change a plan; new limits hold for its subscribers at once.' 'archive' 'Take a plan from sale; its subscribers keep it.' 'restore' 'Put an archived plan on sale again.' 'push' 'Let Stripe sell plans as they are here; pushing again writes only what differs.' 'subscribe' 'Put a user on a plan; one that is sold at Stripe needs --checkout or --direct.' 'portal' 'Make a link to Stripe\'s page where a user minds his payment methods and invoices.' 'change' 'Move a user to another plan at once; Stripe settles the rest of the period with the next invoice.' 'cancel' 'End a user\'s subscription with the period that is paid; one that nobody bills ends at once.' 'sync' 'Compare subscriptions with Stripe, and put right what was missed; for cron, needs no worker.' 'subscriptions' 'Who is on which plan.'
        case ' plans subscriptions'
            printf '%s\t%s\n' 'list' 'List subscriptions, also those that ended.' 'show' 'Show a subscription; of a user the present one, else the last.'
        case ' files'
            printf '%s\t%s\n' 'upload' 'Upload files and folders into a pod; running it again uploads only what is new or changed.' 'list' 'List files.' 'show' 'Show a file, where its bytes lie, and its contents.' 'url' 'Make a link that downloads a file, or plays a rendition, without a login; HLS gets playlists of...' 'download' 'Download a file, or with --owner and --prefix many into a folder, and check every byte.' 'move' 'Give files to another owner; the bytes stay where they are.' 'delete' 'Delete files; they can be restored, and count against storage, until they are purged.' 'restore' 'Take the deletion of files back.' 'purge' 'Remove deleted files and old contents for good, and what was made of them; finishes what a kill...' 'verify' 'Compare files with what the stores hold, those that were verified longest ago first.'
        case ' transcode'
            printf '%s\t%s\n' 'submit' 'Have files transcoded by a worker; what is under way or done already is not done again.' 'list' 'List transcodes in the order in which they were submitted.' 'show' 'Show a transcode with its units of work and what came out of it.' 'watch' 'Follow transcodes until all are over; exit 1 says that some did not succeed, and -o jsonl prints...' 'cancel' 'End transcodes that wait or run; what they took of quotas is given back.' 'retry' 'Submit what failed, was cancelled or quarantined once more, as a new transcode.' 'reap' 'Take back what silent workers hold, and wake workers for all that waits; for cron, safe to repeat.' 'presets' 'What can be made of a file.'
        case ' transcode presets'
            printf '%s\t%s\n' 'list' 'List what can be made of a file.' 'show' 'Show a preset.'
        case ' webhooks'
            printf '%s\t%s\n' 'serve' 'Listen for Stripe\'s deliveries until SIGTERM, and keep them; `dumacle worker` applies them.' 'events' 'What Stripe delivered, and what became of it.'
        case ' webhooks events'
            printf '%s\t%s\n' 'list' 'List events, the latest received first.' 'show' 'Show an event with the state of its object and its body.' 'retry' 'Let a worker fetch and apply the objects of events once more.'
        case ' key'
            printf '%s\t%s\n' 'create' 'Make a key, after telling what losing it means; none is overwritten.' 'check' 'Open every credential with the key, and say which need another; exit 12 where one does not open.'
        case ' audit'
            printf '%s\t%s\n' 'list' 'List changes, the latest first.' 'show' 'Show a change, each column before and after.' 'export' 'Write all changes with what was before and after, the earliest first; with -o jsonl or csv as a...'
        case ' quotas'
            printf '%s\t%s\n' 'show' 'Show a user\'s limits and what is left of them.' 'set' 'Give a user limits of his own; `plan` takes them away again.' 'grant' 'Add to a user\'s monthly limits for the present period; for storage, set a limit instead.' 'reset' 'Close the periods that ended, also of missed months; for cron, safe to repeat and to run several...' 'history' 'Show what a user\'s finished periods came to, the latest first.'
        case ' db'
            printf '%s\t%s\n' 'bootstrap' 'Make the owner\'s role and the database, as a superuser (setting admin_database_url); repeat it at...' 'upgrade' 'Bring the schema up to this release\'s revision, as its owner; after a restore, make the lost...' 'downgrade' 'Take the schema back to a revision, as its owner; what the later ones held is lost.' 'current' 'Show the schema\'s revision, and what an upgrade would run.' 'revision' 'Write the next, empty migration; for developers, in a checkout and with a database that has all...' 'seed' 'Make the first superadmin, whose password is shown this once, and the plans free, starter and pro.' 'check' 'Compare server, schema, tables and functions with what this release needs; exit 1 where they differ.'
        case ' local'
            printf '%s\t%s\n' 'start' 'Start both servers, make database and schema, and write the profile `local`; repeat it at will.' 'stop' 'Stop both servers; their data stays.' 'status' 'Show what runs, where, and how big it is; starts nothing.' 'reset' 'Stop both servers and delete their data for good: every row and every object.'
        case ' config'
            printf '%s\t%s\n' 'list' 'List every setting with its value; secrets are masked.' 'path' 'Show which configuration files are read; the first takes precedence.' 'set' 'Write a setting to your configuration file, into a profile if --profile is given.'
        case ' doctor'
            printf '%s\t%s\n' 'rls' 'Check that PostgreSQL keeps everybody to what he may do; exit 1 where a boundary is broken.'
        case ' completion'
            printf '%s\t%s\n' 'show' 'Print the completion script of a shell.' 'install' 'Put the completion script where the shell looks for it; repeat it after an upgrade.'
    end
end

function __dumacle_options
    switch $argv[1]
        case ' demo'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' auth login'
            printf '%s\t%s\n' '--password-file' 'Where the password is; - is standard input.' '--store' 'Who keeps the session, a file having mode 0600.' '--hours' 'Log in for fewer hours than the installation allows.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth logout'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' auth passwd'
            printf '%s\t%s\n' '--password-file' 'The old password and the new one, a line each, or only the new one where the URL holds the old.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth sessions list'
            printf '%s\t%s\n' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' auth sessions revoke'
            printf '%s\t%s\n' '--all' 'All of yours but the one in use.' '--dry-run' 'Show what would change; change nothing.'
        case ' auth sessions limit'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users create'
            printf '%s\t%s\n' '--name' 'The person\'s name.' '--role' 'What he may do.' '--plan' 'Plan to start with; without one he cannot upload.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users list'
            printf '%s\t%s\n' '--role' 'Only users of this role.' '--status' 'Only users of this status.' '--deleted' 'Those who are deleted and can be restored.' '--sort' 'What to sort by.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' users show'
            printf '%s\t%s\n' '--size' 'Say why a file of 500MiB, 500MB or so many bytes is refused.' '--pod' 'Say why an upload into this pod is refused.'
        case ' users update'
            printf '%s\t%s\n' '--plan' 'Plan to switch to at once; usage carries on.' '--name' 'The person\'s name.' '--email' 'A new e-mail address.' '--role' 'What he may do from now on.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users disable'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users enable'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users delete'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users purge'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' users import'
            printf '%s\t%s\n' '--format' 'What the file is, where its name does not say it.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users grant-login'
            printf '%s\t%s\n' '--service' 'A service instead of a person.' '--password-file' 'The password; without it a random one is shown, once. - is stdin.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' users revoke-login'
            printf '%s\t%s\n' '--service' 'A service instead of a person.' '--dry-run' 'Show what would change; change nothing.'
        case ' users set-role'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods create'
            printf '%s\t%s\n' '--capacity' 'How much it holds, such as 500GiB or 500GB; a bare number is bytes.' '--provider' 'Where its bytes lie, if not at the default one.' '--bucket' 'The bucket; else the provider\'s setting.' '--prefix' 'What its keys begin with; else of its name.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods list'
            printf '%s\t%s\n' '--provider' 'Only pods at this provider.' '--deleted' 'Those that were deleted and can be restored.' '--sort' 'What to sort by.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' pods update'
            printf '%s\t%s\n' '--name' 'A new name; the keys of its files stay.' '--capacity' 'How much it holds, such as 2TiB; a bare number is bytes.' '--use-custom-s3' 'Whether it uses keys of its own; see: pods credentials.' '--no-use-custom-s3' 'Whether it uses keys of its own; see: pods credentials.' '--use-custom-wasabi' 'Whether it uses keys of its own; see: pods credentials.' '--no-use-custom-wasabi' 'Whether it uses keys of its own; see: pods credentials.' '--use-custom-oracle' 'Whether it uses keys of its own; see: pods credentials.' '--no-use-custom-oracle' 'Whether it uses keys of its own; see: pods credentials.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods grant'
            printf '%s\t%s\n' '--default' 'Make it the user\'s default; the first one is.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods revoke'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods delete'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods usage'
            printf '%s\t%s\n' '--by-owner' 'Whose bytes lie in the pod.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' pods check'
            printf '%s\t%s\n' '--repair' 'Put the counters right.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods credentials set'
            printf '%s\t%s\n' '--provider' 'Where the keys are good.' '--default' 'The system\'s own, for all pods without their own.' '--from' 'Where the keys are; - is stdin, else asked. it holds two lines, access key and secret key, or JSON with access_key and secret_key.' '--endpoint' 'Where the provider is.' '--region' 'The bucket\'s region.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' pods credentials show'
            printf '%s\t%s\n' '--default' 'The system\'s own, for all pods without their own.'
        case ' pods credentials test'
            printf '%s\t%s\n' '--provider' 'Where the keys are good.' '--default' 'The system\'s own, for all pods without their own.' '--dry-run' 'Show what would change; change nothing.'
        case ' pods credentials clear'
            printf '%s\t%s\n' '--provider' 'Where the keys are good.' '--default' 'The system\'s own, for all pods without their own.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' pods credentials rotate-key'
            printf '%s\t%s\n' '--to' 'The new key: file:/path, credential:NAME or keyring:NAME.' '--dry-run' 'Show what would change; change nothing.'
        case ' plans create'
            printf '%s\t%s\n' '--price' 'Price of an interval, such as 9.99.' '--storage' 'What may be stored: 500GiB, 500GB, bytes or unlimited.' '--upload' 'What may be uploaded in a month: 500GiB, 500GB, bytes or unlimited.' '--transcode-minutes' 'Minutes transcoded in a month, or unlimited.' '--currency' 'Three letters, such as EUR.' '--interval' 'How often the price is paid.' '--default-pod' 'Pod that new subscribers are granted.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans list'
            printf '%s\t%s\n' '--archived' 'Those that are no longer sold.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' plans update'
            printf '%s\t%s\n' '--name' 'A new name.' '--price' 'Price of an interval, such as 9.99.' '--currency' 'Three letters, such as EUR.' '--interval' 'How often the price is paid.' '--storage' 'What may be stored: 500GiB, 500GB, bytes or unlimited.' '--upload' 'What may be uploaded in a month: 500GiB, 500GB, bytes or unlimited.' '--transcode-minutes' 'Minutes transcoded in a month, or unlimited.' '--default-pod' 'Pod for new subscribers; \'\' for none.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans archive'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans restore'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans push'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' plans subscribe'
            printf '%s\t%s\n' '--checkout' 'Make a link where he pays at Stripe.' '--direct' 'Charge the payment method that Stripe has of him.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans portal'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' plans change'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' plans cancel'
            printf '%s\t%s\n' '--now' 'At once, not at the end of the period that is paid.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' plans sync'
            printf '%s\t%s\n' '--user' 'Only this user\'s; else all.' '--dry-run' 'Show what would change; change nothing.'
        case ' plans subscriptions list'
            printf '%s\t%s\n' '--status' 'Only those of this status.' '--plan' 'Only those to this plan.' '--user' 'Only those of this user: e-mail or id.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' files upload'
            printf '%s\t%s\n' '--owner' 'Owner of the uploaded files: e-mail or id.' '--pod' 'Pod to upload into: name or id. [default: the owner\'s default pod]' '--prefix' 'Prepend to each path, such as 2026/holiday.' '--results' 'Write one JSON line per file.' '--stop-after' 'Stop after N failures; 0 never stops.' '--transcode' 'Transcode uploaded videos (and audio, for the preset audio).' '--dry-run' 'Show what would change; change nothing.'
        case ' files list'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so, sorted by path; needs --owner or --pod.' '--status' 'Only files of this upload status.' '--deleted' 'Those that can be restored, sorted by deletion.' '--sort' 'What to sort by; path and size need --owner or --pod.' '--desc' 'The last first.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' files show'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--watch' 'Wait until its upload has ended.'
        case ' files url'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--rendition' 'Of what was made of it, such as hls; see: files show.' '--expires' 'How long it is good, up to 7d: 90s, 15min, 1h, 7d.' '--dry-run' 'Show what would change; change nothing.'
        case ' files download'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--to' 'File or folder to write; - is standard output.' '--force' 'Overwrite what is there with other content.'
        case ' files move'
            printf '%s\t%s\n' '--to-owner' 'Who gets them: e-mail or id.' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--max' 'Refuse to touch more than this many.'
        case ' files delete'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--older-than' 'Only those created longer ago than this: 90s, 15min, 12h, 365d, 2w, 12mo, 1y.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--yes' 'Do not ask.' '-y' 'Do not ask.' '--max' 'Refuse to touch more than this many.'
        case ' files restore'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.' '--max' 'Refuse to touch more than this many.'
        case ' files purge'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--older-than' 'Only those given up longer ago than this: 90s, 15min, 12h, 365d, 2w, 12mo, 1y; else retention_days.' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.' '--max' 'Refuse to touch more than this many.'
        case ' files verify'
            printf '%s\t%s\n' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--prefix' 'Only paths that begin so.' '--read' 'Read all bytes and compare their SHA-256.' '--limit' 'At most so many files.' '--dry-run' 'Show what would change; change nothing.'
        case ' transcode submit'
            printf '%s\t%s\n' '--preset' 'What to make.' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' transcode list'
            printf '%s\t%s\n' '--status' 'Only those of this status.' '--preset' 'Only through this preset.' '--owner' 'Whose files: e-mail or id.' '--pod' 'In which pod: name or id.' '--file' 'Of one file: id, or path with --owner.' '--desc' 'The last first.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' transcode cancel'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' transcode retry'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' transcode reap'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' webhooks events list'
            printf '%s\t%s\n' '--status' 'Only those of this status.' '--object' 'Only those about this object, such as sub_1.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' webhooks events retry'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' worker'
            printf '%s\t%s\n' '--queues' 'transcode, webhooks or both with a comma; all by default.' '--slots' 'Units at once; else as configured.' '--once' 'End when nothing is left to do.' '--drain-timeout' 'How long a unit may go on after SIGTERM.'
        case ' key create'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' audit list'
            printf '%s\t%s\n' '--actor' 'Changes made by this e-mail or id.' '--login' 'Changes made with this login.' '--target' 'Changes of a table, or of a row such as users:7 or users:EMAIL.' '--action' 'Only changes of this kind.' '--operation' 'Changes of this operation, as its login named it.' '--since' 'From then on: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y.' '--until' 'Before then, in the same forms.' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' audit export'
            printf '%s\t%s\n' '--actor' 'Changes made by this e-mail or id.' '--login' 'Changes made with this login.' '--target' 'Changes of a table, or of a row such as users:7 or users:EMAIL.' '--action' 'Only changes of this kind.' '--operation' 'Changes of this operation, as its login named it.' '--since' 'From then on: ISO 8601 in UTC, or an age: 15min, 12h, 7d, 12mo, 1y.' '--until' 'Before then, in the same forms.'
        case ' quotas set'
            printf '%s\t%s\n' '--storage' 'At a time: 500GiB, 500GB, bytes, unlimited or plan.' '--upload' 'A month: 500GiB, 500GB, bytes, unlimited or plan.' '--transcode-minutes' 'Minutes a month, unlimited or plan.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' quotas grant'
            printf '%s\t%s\n' '--upload' 'More to upload: 5GiB, 5GB or bytes.' '--transcode-minutes' 'More minutes.' '--reason' 'Why; kept with the grant.' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' quotas reset'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
        case ' quotas history'
            printf '%s\t%s\n' '--limit' 'Rows of a page.' '--after' 'Go on behind this page.' '--all' 'All rows, as a stream.'
        case ' db bootstrap'
            printf '%s\t%s\n' '--password-file' 'The owner\'s password; made at random if not there; - is stdin.' '--database' 'The database to make.' '--owner' 'Its owner\'s role.' '--dry-run' 'Show what would change; change nothing.'
        case ' db upgrade'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' db downgrade'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--yes' 'Do not ask.' '-y' 'Do not ask.'
        case ' db revision'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.'
        case ' db seed'
            printf '%s\t%s\n' '--dry-run' 'Show what would change; change nothing.' '--op-id' 'Id of this operation; a repeat takes effect once.'
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
            printf '%s\t%s\n' '--output' 'How results are written.' '-o' 'How results are written.' '--profile' 'Profile of the configuration file.' '--set' 'Override a setting; not for secrets.' '--timeout' 'Give up after this long.' '--verbose' 'Say how long it took; -vv: also each statement.' '-v' 'Say how long it took; -vv: also each statement.' '--quiet' 'Print nothing on success.' '-q' 'Print nothing on success.' '--log-format' 'Record of the run on standard error.' '--color' 'When to colour; auto heeds NO_COLOR.' '--help' 'Show help.'
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
        case ' pods create --capacity'
            true
        case ' pods create --provider'
            printf '%s\t%s\n' 's3' '' 'wasabi' '' 'oracle' '' 'local' ''
        case ' pods create --bucket'
            true
        case ' pods create --prefix'
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
        case ' plans create --interval'
            printf '%s\t%s\n' 'month' '' 'year' ''
        case ' plans create --default-pod'
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
        case ' plans update --op-id'
            true
        case ' plans archive --op-id'
            true
        case ' plans restore --op-id'
            true
        case ' plans subscribe --op-id'
            true
        case ' plans change --op-id'
            true
        case ' plans cancel --op-id'
            true
        case ' plans sync --user'
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
        case ' files upload --owner'
            true
        case ' files upload --pod'
            true
        case ' files upload --prefix'
            true
        case ' files upload --results'
            printf '%s\t%s\n' '@files' ''
        case ' files upload --stop-after'
            true
        case ' files upload --transcode'
            printf '%s\t%s\n' 'hls' '' 'mp4' '' 'audio' '' 'poster' ''
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
        case ' files url --owner'
            true
        case ' files url --pod'
            true
        case ' files url --rendition'
            true
        case ' files url --expires'
            true
        case ' files download --owner'
            true
        case ' files download --pod'
            true
        case ' files download --prefix'
            true
        case ' files download --to'
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
        case ' transcode submit --preset'
            printf '%s\t%s\n' 'hls' '' 'mp4' '' 'audio' '' 'poster' ''
        case ' transcode submit --owner'
            true
        case ' transcode submit --pod'
            true
        case ' transcode submit --op-id'
            true
        case ' transcode list --status'
            printf '%s\t%s\n' 'queued' '' 'running' '' 'publishing' '' 'done' '' 'failed' '' 'cancelled' '' 'quarantined' ''
        case ' transcode list --preset'
            printf '%s\t%s\n' 'hls' '' 'mp4' '' 'audio' '' 'poster' ''
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
        case ' transcode cancel --op-id'
            true
        case ' transcode retry --op-id'
            true
        case ' transcode reap --op-id'
            true
        case ' webhooks events list --status'
            printf '%s\t%s\n' 'received' '' 'applied' '' 'ignored' '' 'foreign' '' 'parked' '' 'dead' ''
        case ' webhooks events list --object'
            true
        case ' webhooks events list --limit'
            true
        case ' webhooks events list --after'
            true
        case ' webhooks events retry --op-id'
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
        case ' files show'
            printf '%s\t%s\n' '@files' ''
        case ' files url'
            printf '%s\t%s\n' '@files' ''
        case ' files download'
            printf '%s\t%s\n' '@files' ''
        case ' files move'
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
