# bash completion for dumacle, made by: dumacle completion show bash

_dumacle_children() {
    REPLY=
    case $1 in
        '') REPLY='demo auth users pods plans files transcode webhooks worker key audit quotas db local config doctor schema completion' ;;
        ' auth') REPLY='login logout whoami status passwd sessions' ;;
        ' auth sessions') REPLY='list revoke limit' ;;
        ' users') REPLY='create list show update disable enable delete restore purge import grant-login revoke-login set-role' ;;
        ' pods') REPLY='replicate reconcile promote probe create list show update grant revoke delete restore usage check credentials cors' ;;
        ' pods credentials') REPLY='set show test clear rotate-key' ;;
        ' pods cors') REPLY='show set check' ;;
        ' plans') REPLY='create list show update archive restore push subscribe portal change cancel sync subscriptions' ;;
        ' plans subscriptions') REPLY='list show' ;;
        ' files') REPLY='upload reap initiate sign-parts progress confirm abort list show versions url download move relocate rename delete restore purge verify runs' ;;
        ' files runs') REPLY='list show report resume cancel' ;;
        ' transcode') REPLY='submit list show watch cancel retry reap presets' ;;
        ' transcode presets') REPLY='list show' ;;
        ' webhooks') REPLY='serve events endpoint' ;;
        ' webhooks events') REPLY='list show retry replay prune' ;;
        ' webhooks endpoint') REPLY='create check rotate' ;;
        ' key') REPLY='create check' ;;
        ' audit') REPLY='list show export' ;;
        ' quotas') REPLY='show set grant reset adjust verify history' ;;
        ' db') REPLY='bootstrap upgrade downgrade current revision seed check' ;;
        ' local') REPLY='start stop status reset' ;;
        ' config') REPLY='list path set' ;;
        ' doctor') REPLY='rls' ;;
        ' completion') REPLY='show install' ;;
    esac
}

_dumacle_options() {
    REPLY=
    case $1 in
        ' demo') REPLY='--dry-run' ;;
        ' auth login') REPLY='--password-file --store --hours --dry-run' ;;
        ' auth logout') REPLY='--dry-run' ;;
        ' auth passwd') REPLY='--password-file --dry-run' ;;
        ' auth sessions list') REPLY='--limit --after --all' ;;
        ' auth sessions revoke') REPLY='--all --dry-run' ;;
        ' auth sessions limit') REPLY='--dry-run --op-id' ;;
        ' users create') REPLY='--name --role --plan --dry-run --op-id' ;;
        ' users list') REPLY='--role --status --deleted --sort --limit --after --all' ;;
        ' users show') REPLY='--size --pod' ;;
        ' users update') REPLY='--plan --name --email --role --dry-run --op-id' ;;
        ' users disable') REPLY='--dry-run --op-id' ;;
        ' users enable') REPLY='--dry-run --op-id' ;;
        ' users delete') REPLY='--dry-run --op-id' ;;
        ' users restore') REPLY='--dry-run --op-id' ;;
        ' users purge') REPLY='--dry-run --op-id --yes -y' ;;
        ' users import') REPLY='--format --dry-run --op-id' ;;
        ' users grant-login') REPLY='--service --password-file --dry-run --op-id' ;;
        ' users revoke-login') REPLY='--service --dry-run' ;;
        ' users set-role') REPLY='--dry-run --op-id --yes -y' ;;
        ' pods replicate') REPLY='--concurrency --dry-run' ;;
        ' pods reconcile') REPLY='--apply --dry-run' ;;
        ' pods promote') REPLY='--dry-run --op-id' ;;
        ' pods probe') REPLY='--dry-run' ;;
        ' pods create') REPLY='--capacity --provider --bucket --secondary --secondary-bucket --prefix --allow-types --max-file-size --dry-run --op-id' ;;
        ' pods list') REPLY='--provider --deleted --sort --limit --after --all' ;;
        ' pods update') REPLY='--name --capacity --secondary --secondary-bucket --no-secondary --copies-during-uploads --copies-by-worker --allow-types --max-file-size --use-custom-s3 --no-use-custom-s3 --use-custom-wasabi --no-use-custom-wasabi --use-custom-oracle --no-use-custom-oracle --dry-run --op-id' ;;
        ' pods grant') REPLY='--default --dry-run --op-id' ;;
        ' pods revoke') REPLY='--dry-run --op-id' ;;
        ' pods delete') REPLY='--dry-run --op-id --yes -y' ;;
        ' pods restore') REPLY='--dry-run --op-id' ;;
        ' pods usage') REPLY='--by-owner --limit --after --all' ;;
        ' pods check') REPLY='--repair --dry-run --op-id' ;;
        ' pods credentials set') REPLY='--provider --default --from --endpoint --region --dry-run --op-id' ;;
        ' pods credentials show') REPLY='--default' ;;
        ' pods credentials test') REPLY='--provider --default --dry-run' ;;
        ' pods credentials clear') REPLY='--provider --default --dry-run --op-id --yes -y' ;;
        ' pods credentials rotate-key') REPLY='--to --dry-run' ;;
        ' pods cors set') REPLY='--origin --dry-run' ;;
        ' pods cors check') REPLY='--origin' ;;
        ' plans create') REPLY='--price --storage --upload --transcode-minutes --currency --interval --default-pod --allow-types --max-file-size --dry-run --op-id' ;;
        ' plans list') REPLY='--archived --limit --after --all' ;;
        ' plans update') REPLY='--name --price --currency --interval --storage --upload --transcode-minutes --default-pod --allow-types --max-file-size --dry-run --op-id' ;;
        ' plans archive') REPLY='--dry-run --op-id' ;;
        ' plans restore') REPLY='--dry-run --op-id' ;;
        ' plans push') REPLY='--dry-run' ;;
        ' plans subscribe') REPLY='--checkout --direct --dry-run --op-id' ;;
        ' plans portal') REPLY='--dry-run' ;;
        ' plans change') REPLY='--dry-run --op-id' ;;
        ' plans cancel') REPLY='--now --dry-run --op-id --yes -y' ;;
        ' plans sync') REPLY='--user --dry-run' ;;
        ' plans subscriptions list') REPLY='--status --plan --user --limit --after --all' ;;
        ' files upload') REPLY='--owner --pod --results --stop-after --checksum --force --on-change --dedupe --delete-source --yes -y --join --concurrency --bandwidth --transcode --progress --include --exclude --min-size --max-size --newer-than --older-than --no-hidden --links --allow-empty --prefix --keep-name --flatten --files-from --null -0 --manifest --stdin-name --dry-run' ;;
        ' files reap') REPLY='--older-than --dry-run' ;;
        ' files initiate') REPLY='--owner --size --type --pod --sha256 --md5 --parts --part-size --expires --dry-run --op-id' ;;
        ' files sign-parts') REPLY='--owner --pod --parts --expires --dry-run --op-id' ;;
        ' files progress') REPLY='--owner --pod' ;;
        ' files confirm') REPLY='--owner --pod --sha256 --transcode --dry-run --op-id' ;;
        ' files abort') REPLY='--owner --pod --dry-run --op-id' ;;
        ' files list') REPLY='--owner --pod --prefix --status --deleted --sort --desc --limit --after --all' ;;
        ' files show') REPLY='--owner --pod --watch' ;;
        ' files versions') REPLY='--owner --pod' ;;
        ' files url') REPLY='--owner --pod --rendition --expires --version --dry-run' ;;
        ' files download') REPLY='--owner --pod --prefix --to --force --status --older-than --version' ;;
        ' files move') REPLY='--to-owner --owner --pod --prefix --dry-run --op-id --max' ;;
        ' files relocate') REPLY='--to-pod --owner --pod --prefix --dry-run --max' ;;
        ' files rename') REPLY='--owner --pod --prefix --to --dry-run --op-id --max' ;;
        ' files delete') REPLY='--owner --pod --prefix --older-than --dry-run --op-id --yes -y --max' ;;
        ' files restore') REPLY='--owner --pod --prefix --version --dry-run --op-id --max' ;;
        ' files purge') REPLY='--owner --pod --prefix --older-than --dry-run --yes -y --max' ;;
        ' files verify') REPLY='--owner --pod --prefix --read --limit --slice --sample --full --dry-run' ;;
        ' files runs list') REPLY='--owner --pod --status --desc --limit --after --all' ;;
        ' files runs report') REPLY='--status --limit --after --all' ;;
        ' files runs resume') REPLY='--dry-run' ;;
        ' files runs cancel') REPLY='--dry-run --op-id' ;;
        ' transcode submit') REPLY='--preset --owner --pod --dry-run --op-id' ;;
        ' transcode list') REPLY='--status --preset --owner --pod --file --desc --limit --after --all' ;;
        ' transcode cancel') REPLY='--dry-run --op-id' ;;
        ' transcode retry') REPLY='--dry-run --op-id' ;;
        ' transcode reap') REPLY='--dry-run --op-id' ;;
        ' webhooks events list') REPLY='--status --object --limit --after --all' ;;
        ' webhooks events retry') REPLY='--status --type --older-than --all-failed --dry-run --op-id --max' ;;
        ' webhooks events replay') REPLY='--status --type --older-than --dry-run --op-id --max' ;;
        ' webhooks events prune') REPLY='--older-than --status --type --dry-run --op-id --yes -y --max' ;;
        ' webhooks endpoint create') REPLY='--dry-run --op-id' ;;
        ' webhooks endpoint rotate') REPLY='--finish --dry-run --op-id' ;;
        ' worker') REPLY='--queues --slots --once --drain-timeout' ;;
        ' key create') REPLY='--dry-run --yes -y' ;;
        ' audit list') REPLY='--actor --login --target --action --operation --since --until --limit --after --all' ;;
        ' audit export') REPLY='--actor --login --target --action --operation --since --until' ;;
        ' quotas set') REPLY='--storage --upload --transcode-minutes --dry-run --op-id' ;;
        ' quotas grant') REPLY='--upload --transcode-minutes --reason --dry-run --op-id' ;;
        ' quotas reset') REPLY='--dry-run --op-id' ;;
        ' quotas adjust') REPLY='--upload --transcode-minutes --reason --dry-run --op-id' ;;
        ' quotas history') REPLY='--limit --after --all' ;;
        ' db bootstrap') REPLY='--password-file --database --owner --dry-run' ;;
        ' db upgrade') REPLY='--dry-run' ;;
        ' db downgrade') REPLY='--dry-run --yes -y' ;;
        ' db revision') REPLY='--dry-run' ;;
        ' db seed') REPLY='--dry-run --op-id' ;;
        ' local start') REPLY='--dry-run' ;;
        ' local stop') REPLY='--dry-run' ;;
        ' local reset') REPLY='--dry-run --yes -y' ;;
        ' config list') REPLY='--show-origin' ;;
        ' config set') REPLY='--dry-run' ;;
        ' completion install') REPLY='--dry-run' ;;
        'everywhere') REPLY='--output -o --profile --set --timeout --verbose -v --quiet -q --log-format --color --help' ;;
    esac
}

# The values of an option; fails where it takes none.
_dumacle_values() {
    case $1 in
        ' auth login --password-file') REPLY='@files' ;;
        ' auth login --store') REPLY='keyring file' ;;
        ' auth login --hours') REPLY='' ;;
        ' auth passwd --password-file') REPLY='@files' ;;
        ' auth sessions list --limit') REPLY='' ;;
        ' auth sessions list --after') REPLY='' ;;
        ' auth sessions limit --op-id') REPLY='' ;;
        ' users create --name') REPLY='' ;;
        ' users create --role') REPLY='superadmin admin enduser service' ;;
        ' users create --plan') REPLY='' ;;
        ' users create --op-id') REPLY='' ;;
        ' users list --role') REPLY='superadmin admin enduser service' ;;
        ' users list --status') REPLY='active disabled' ;;
        ' users list --sort') REPLY='id email' ;;
        ' users list --limit') REPLY='' ;;
        ' users list --after') REPLY='' ;;
        ' users show --size') REPLY='' ;;
        ' users show --pod') REPLY='' ;;
        ' users update --plan') REPLY='' ;;
        ' users update --name') REPLY='' ;;
        ' users update --email') REPLY='' ;;
        ' users update --role') REPLY='superadmin admin enduser service' ;;
        ' users update --op-id') REPLY='' ;;
        ' users disable --op-id') REPLY='' ;;
        ' users enable --op-id') REPLY='' ;;
        ' users delete --op-id') REPLY='' ;;
        ' users restore --op-id') REPLY='' ;;
        ' users purge --op-id') REPLY='' ;;
        ' users import --format') REPLY='csv jsonl' ;;
        ' users import --op-id') REPLY='' ;;
        ' users grant-login --service') REPLY='worker listener cron ingest' ;;
        ' users grant-login --password-file') REPLY='@files' ;;
        ' users grant-login --op-id') REPLY='' ;;
        ' users revoke-login --service') REPLY='worker listener cron ingest' ;;
        ' users set-role --op-id') REPLY='' ;;
        ' pods replicate --concurrency') REPLY='' ;;
        ' pods promote --op-id') REPLY='' ;;
        ' pods create --capacity') REPLY='' ;;
        ' pods create --provider') REPLY='s3 wasabi oracle local' ;;
        ' pods create --bucket') REPLY='' ;;
        ' pods create --secondary') REPLY='s3 wasabi oracle local' ;;
        ' pods create --secondary-bucket') REPLY='' ;;
        ' pods create --prefix') REPLY='' ;;
        ' pods create --allow-types') REPLY='' ;;
        ' pods create --max-file-size') REPLY='' ;;
        ' pods create --op-id') REPLY='' ;;
        ' pods list --provider') REPLY='s3 wasabi oracle local' ;;
        ' pods list --sort') REPLY='id name' ;;
        ' pods list --limit') REPLY='' ;;
        ' pods list --after') REPLY='' ;;
        ' pods update --name') REPLY='' ;;
        ' pods update --capacity') REPLY='' ;;
        ' pods update --secondary') REPLY='s3 wasabi oracle local' ;;
        ' pods update --secondary-bucket') REPLY='' ;;
        ' pods update --allow-types') REPLY='' ;;
        ' pods update --max-file-size') REPLY='' ;;
        ' pods update --op-id') REPLY='' ;;
        ' pods grant --op-id') REPLY='' ;;
        ' pods revoke --op-id') REPLY='' ;;
        ' pods delete --op-id') REPLY='' ;;
        ' pods restore --op-id') REPLY='' ;;
        ' pods usage --limit') REPLY='' ;;
        ' pods usage --after') REPLY='' ;;
        ' pods check --op-id') REPLY='' ;;
        ' pods credentials set --provider') REPLY='s3 wasabi oracle' ;;
        ' pods credentials set --from') REPLY='@files' ;;
        ' pods credentials set --endpoint') REPLY='' ;;
        ' pods credentials set --region') REPLY='' ;;
        ' pods credentials set --op-id') REPLY='' ;;
        ' pods credentials test --provider') REPLY='s3 wasabi oracle' ;;
        ' pods credentials clear --provider') REPLY='s3 wasabi oracle' ;;
        ' pods credentials clear --op-id') REPLY='' ;;
        ' pods credentials rotate-key --to') REPLY='' ;;
        ' pods cors set --origin') REPLY='' ;;
        ' pods cors check --origin') REPLY='' ;;
        ' plans create --price') REPLY='' ;;
        ' plans create --storage') REPLY='' ;;
        ' plans create --upload') REPLY='' ;;
        ' plans create --transcode-minutes') REPLY='' ;;
        ' plans create --currency') REPLY='' ;;
        ' plans create --interval') REPLY='month year' ;;
        ' plans create --default-pod') REPLY='' ;;
        ' plans create --allow-types') REPLY='' ;;
        ' plans create --max-file-size') REPLY='' ;;
        ' plans create --op-id') REPLY='' ;;
        ' plans list --limit') REPLY='' ;;
        ' plans list --after') REPLY='' ;;
        ' plans update --name') REPLY='' ;;
        ' plans update --price') REPLY='' ;;
        ' plans update --currency') REPLY='' ;;
        ' plans update --interval') REPLY='month year' ;;
        ' plans update --storage') REPLY='' ;;
        ' plans update --upload') REPLY='' ;;
        ' plans update --transcode-minutes') REPLY='' ;;
        ' plans update --default-pod') REPLY='' ;;
        ' plans update --allow-types') REPLY='' ;;
        ' plans update --max-file-size') REPLY='' ;;
        ' plans update --op-id') REPLY='' ;;
        ' plans archive --op-id') REPLY='' ;;
        ' plans restore --op-id') REPLY='' ;;
        ' plans subscribe --op-id') REPLY='' ;;
        ' plans change --op-id') REPLY='' ;;
        ' plans cancel --op-id') REPLY='' ;;
        ' plans sync --user') REPLY='' ;;
        ' plans subscriptions list --status') REPLY='active trialing past_due unpaid canceled incomplete incomplete_expired paused' ;;
        ' plans subscriptions list --plan') REPLY='' ;;
        ' plans subscriptions list --user') REPLY='' ;;
        ' plans subscriptions list --limit') REPLY='' ;;
        ' plans subscriptions list --after') REPLY='' ;;
        ' files upload --owner') REPLY='' ;;
        ' files upload --pod') REPLY='' ;;
        ' files upload --results') REPLY='@files' ;;
        ' files upload --stop-after') REPLY='' ;;
        ' files upload --on-change') REPLY='version keep fail' ;;
        ' files upload --concurrency') REPLY='' ;;
        ' files upload --bandwidth') REPLY='' ;;
        ' files upload --transcode') REPLY='hls mp4 audio poster' ;;
        ' files upload --include') REPLY='' ;;
        ' files upload --exclude') REPLY='' ;;
        ' files upload --min-size') REPLY='' ;;
        ' files upload --max-size') REPLY='' ;;
        ' files upload --newer-than') REPLY='' ;;
        ' files upload --older-than') REPLY='' ;;
        ' files upload --links') REPLY='skip follow' ;;
        ' files upload --prefix') REPLY='' ;;
        ' files upload --files-from') REPLY='@files' ;;
        ' files upload --manifest') REPLY='@files' ;;
        ' files upload --stdin-name') REPLY='' ;;
        ' files reap --older-than') REPLY='' ;;
        ' files initiate --owner') REPLY='' ;;
        ' files initiate --size') REPLY='' ;;
        ' files initiate --type') REPLY='' ;;
        ' files initiate --pod') REPLY='' ;;
        ' files initiate --sha256') REPLY='' ;;
        ' files initiate --md5') REPLY='' ;;
        ' files initiate --part-size') REPLY='' ;;
        ' files initiate --expires') REPLY='' ;;
        ' files initiate --op-id') REPLY='' ;;
        ' files sign-parts --owner') REPLY='' ;;
        ' files sign-parts --pod') REPLY='' ;;
        ' files sign-parts --parts') REPLY='' ;;
        ' files sign-parts --expires') REPLY='' ;;
        ' files sign-parts --op-id') REPLY='' ;;
        ' files progress --owner') REPLY='' ;;
        ' files progress --pod') REPLY='' ;;
        ' files confirm --owner') REPLY='' ;;
        ' files confirm --pod') REPLY='' ;;
        ' files confirm --sha256') REPLY='' ;;
        ' files confirm --transcode') REPLY='hls mp4 audio poster' ;;
        ' files confirm --op-id') REPLY='' ;;
        ' files abort --owner') REPLY='' ;;
        ' files abort --pod') REPLY='' ;;
        ' files abort --op-id') REPLY='' ;;
        ' files list --owner') REPLY='' ;;
        ' files list --pod') REPLY='' ;;
        ' files list --prefix') REPLY='' ;;
        ' files list --status') REPLY='planned uploading completing uploaded verified changed refused cancelled failed' ;;
        ' files list --sort') REPLY='created path size' ;;
        ' files list --limit') REPLY='' ;;
        ' files list --after') REPLY='' ;;
        ' files show --owner') REPLY='' ;;
        ' files show --pod') REPLY='' ;;
        ' files versions --owner') REPLY='' ;;
        ' files versions --pod') REPLY='' ;;
        ' files url --owner') REPLY='' ;;
        ' files url --pod') REPLY='' ;;
        ' files url --rendition') REPLY='' ;;
        ' files url --expires') REPLY='' ;;
        ' files url --version') REPLY='' ;;
        ' files download --owner') REPLY='' ;;
        ' files download --pod') REPLY='' ;;
        ' files download --prefix') REPLY='' ;;
        ' files download --to') REPLY='' ;;
        ' files download --status') REPLY='planned uploading completing uploaded verified changed refused cancelled failed' ;;
        ' files download --older-than') REPLY='' ;;
        ' files download --version') REPLY='' ;;
        ' files move --to-owner') REPLY='' ;;
        ' files move --owner') REPLY='' ;;
        ' files move --pod') REPLY='' ;;
        ' files move --prefix') REPLY='' ;;
        ' files move --op-id') REPLY='' ;;
        ' files move --max') REPLY='' ;;
        ' files relocate --to-pod') REPLY='' ;;
        ' files relocate --owner') REPLY='' ;;
        ' files relocate --pod') REPLY='' ;;
        ' files relocate --prefix') REPLY='' ;;
        ' files relocate --max') REPLY='' ;;
        ' files rename --owner') REPLY='' ;;
        ' files rename --pod') REPLY='' ;;
        ' files rename --prefix') REPLY='' ;;
        ' files rename --to') REPLY='' ;;
        ' files rename --op-id') REPLY='' ;;
        ' files rename --max') REPLY='' ;;
        ' files delete --owner') REPLY='' ;;
        ' files delete --pod') REPLY='' ;;
        ' files delete --prefix') REPLY='' ;;
        ' files delete --older-than') REPLY='' ;;
        ' files delete --op-id') REPLY='' ;;
        ' files delete --max') REPLY='' ;;
        ' files restore --owner') REPLY='' ;;
        ' files restore --pod') REPLY='' ;;
        ' files restore --prefix') REPLY='' ;;
        ' files restore --version') REPLY='' ;;
        ' files restore --op-id') REPLY='' ;;
        ' files restore --max') REPLY='' ;;
        ' files purge --owner') REPLY='' ;;
        ' files purge --pod') REPLY='' ;;
        ' files purge --prefix') REPLY='' ;;
        ' files purge --older-than') REPLY='' ;;
        ' files purge --max') REPLY='' ;;
        ' files verify --owner') REPLY='' ;;
        ' files verify --pod') REPLY='' ;;
        ' files verify --prefix') REPLY='' ;;
        ' files verify --limit') REPLY='' ;;
        ' files verify --slice') REPLY='' ;;
        ' files verify --sample') REPLY='' ;;
        ' files runs list --owner') REPLY='' ;;
        ' files runs list --pod') REPLY='' ;;
        ' files runs list --status') REPLY='running done partial failed interrupted cancelled' ;;
        ' files runs list --limit') REPLY='' ;;
        ' files runs list --after') REPLY='' ;;
        ' files runs report --status') REPLY='uploading completing changed refused cancelled failed' ;;
        ' files runs report --limit') REPLY='' ;;
        ' files runs report --after') REPLY='' ;;
        ' files runs cancel --op-id') REPLY='' ;;
        ' transcode submit --preset') REPLY='hls mp4 audio poster' ;;
        ' transcode submit --owner') REPLY='' ;;
        ' transcode submit --pod') REPLY='' ;;
        ' transcode submit --op-id') REPLY='' ;;
        ' transcode list --status') REPLY='queued running publishing done failed cancelled quarantined' ;;
        ' transcode list --preset') REPLY='hls mp4 audio poster' ;;
        ' transcode list --owner') REPLY='' ;;
        ' transcode list --pod') REPLY='' ;;
        ' transcode list --file') REPLY='@files' ;;
        ' transcode list --limit') REPLY='' ;;
        ' transcode list --after') REPLY='' ;;
        ' transcode cancel --op-id') REPLY='' ;;
        ' transcode retry --op-id') REPLY='' ;;
        ' transcode reap --op-id') REPLY='' ;;
        ' webhooks events list --status') REPLY='received applied ignored foreign parked dead' ;;
        ' webhooks events list --object') REPLY='' ;;
        ' webhooks events list --limit') REPLY='' ;;
        ' webhooks events list --after') REPLY='' ;;
        ' webhooks events retry --status') REPLY='dead parked' ;;
        ' webhooks events retry --type') REPLY='' ;;
        ' webhooks events retry --older-than') REPLY='' ;;
        ' webhooks events retry --op-id') REPLY='' ;;
        ' webhooks events retry --max') REPLY='' ;;
        ' webhooks events replay --status') REPLY='applied ignored foreign' ;;
        ' webhooks events replay --type') REPLY='' ;;
        ' webhooks events replay --older-than') REPLY='' ;;
        ' webhooks events replay --op-id') REPLY='' ;;
        ' webhooks events replay --max') REPLY='' ;;
        ' webhooks events prune --older-than') REPLY='' ;;
        ' webhooks events prune --status') REPLY='applied ignored foreign dead' ;;
        ' webhooks events prune --type') REPLY='' ;;
        ' webhooks events prune --op-id') REPLY='' ;;
        ' webhooks events prune --max') REPLY='' ;;
        ' webhooks endpoint create --op-id') REPLY='' ;;
        ' webhooks endpoint rotate --op-id') REPLY='' ;;
        ' worker --queues') REPLY='' ;;
        ' worker --slots') REPLY='' ;;
        ' worker --drain-timeout') REPLY='' ;;
        ' audit list --actor') REPLY='' ;;
        ' audit list --login') REPLY='' ;;
        ' audit list --target') REPLY='' ;;
        ' audit list --action') REPLY='insert update delete' ;;
        ' audit list --operation') REPLY='' ;;
        ' audit list --since') REPLY='' ;;
        ' audit list --until') REPLY='' ;;
        ' audit list --limit') REPLY='' ;;
        ' audit list --after') REPLY='' ;;
        ' audit export --actor') REPLY='' ;;
        ' audit export --login') REPLY='' ;;
        ' audit export --target') REPLY='' ;;
        ' audit export --action') REPLY='insert update delete' ;;
        ' audit export --operation') REPLY='' ;;
        ' audit export --since') REPLY='' ;;
        ' audit export --until') REPLY='' ;;
        ' quotas set --storage') REPLY='' ;;
        ' quotas set --upload') REPLY='' ;;
        ' quotas set --transcode-minutes') REPLY='' ;;
        ' quotas set --op-id') REPLY='' ;;
        ' quotas grant --upload') REPLY='' ;;
        ' quotas grant --transcode-minutes') REPLY='' ;;
        ' quotas grant --reason') REPLY='' ;;
        ' quotas grant --op-id') REPLY='' ;;
        ' quotas reset --op-id') REPLY='' ;;
        ' quotas adjust --upload') REPLY='' ;;
        ' quotas adjust --transcode-minutes') REPLY='' ;;
        ' quotas adjust --reason') REPLY='' ;;
        ' quotas adjust --op-id') REPLY='' ;;
        ' quotas history --limit') REPLY='' ;;
        ' quotas history --after') REPLY='' ;;
        ' db bootstrap --password-file') REPLY='@files' ;;
        ' db bootstrap --database') REPLY='' ;;
        ' db bootstrap --owner') REPLY='' ;;
        ' db seed --op-id') REPLY='' ;;
        'everywhere --output') REPLY='table json jsonl csv' ;;
        'everywhere -o') REPLY='table json jsonl csv' ;;
        'everywhere --profile') REPLY='' ;;
        'everywhere --set') REPLY='' ;;
        'everywhere --timeout') REPLY='' ;;
        'everywhere --log-format') REPLY='text json' ;;
        'everywhere --color') REPLY='auto always never' ;;
        *) return 1 ;;
    esac
}

_dumacle_arguments() {
    REPLY=
    case $1 in
        ' demo') REPLY='@files' ;;
        ' users import') REPLY='@files' ;;
        ' users set-role') REPLY='superadmin admin enduser' ;;
        ' files upload') REPLY='@files' ;;
        ' files sign-parts') REPLY='@files' ;;
        ' files progress') REPLY='@files' ;;
        ' files confirm') REPLY='@files' ;;
        ' files abort') REPLY='@files' ;;
        ' files show') REPLY='@files' ;;
        ' files versions') REPLY='@files' ;;
        ' files url') REPLY='@files' ;;
        ' files download') REPLY='@files' ;;
        ' files move') REPLY='@files' ;;
        ' files relocate') REPLY='@files' ;;
        ' files rename') REPLY='@files' ;;
        ' files delete') REPLY='@files' ;;
        ' files restore') REPLY='@files' ;;
        ' files purge') REPLY='@files' ;;
        ' files verify') REPLY='@files' ;;
        ' transcode submit') REPLY='@files' ;;
        ' completion show') REPLY='bash zsh fish powershell' ;;
        ' completion install') REPLY='bash zsh fish powershell' ;;
    esac
}

_dumacle() {
    local REPLY at= word skip= words own
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    # bash takes the = of --option=value for a word of its own.
    if [[ $cur == '=' ]]; then
        cur=
    elif [[ $prev == '=' ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == '=' ]]; then
            continue
        elif [[ $skip ]]; then
            skip=
        elif [[ $word == -* ]]; then
            _dumacle_values "$at $word" || _dumacle_values "everywhere $word" && skip=1
        else
            _dumacle_children "$at"
            [[ " $REPLY " == *" $word "* ]] && at="$at $word"
        fi
    done
    if _dumacle_values "$at $prev" || _dumacle_values "everywhere $prev"; then
        words=$REPLY
    elif [[ $cur == -* ]]; then
        _dumacle_options "$at"; own=$REPLY
        _dumacle_options everywhere; words="$own $REPLY"
    else
        _dumacle_children "$at"; own=$REPLY
        _dumacle_arguments "$at"; words="$own $REPLY"
    fi
    if [[ " $words " == *" @files "* ]]; then
        compopt -o default 2>/dev/null
    else
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
}

complete -F _dumacle dumacle
