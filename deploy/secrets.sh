#!/usr/bin/env bash
# deploy/secrets.sh DIR: makes what a small fleet needs to know and nobody else should: an NKEY for each user of the broker, a
# password and an address for each user of Valkey and PostgreSQL. What is there already stays as it is. compose.yaml mounts the
# files from deploy/compose/secrets; k8s/secrets.sh makes Kubernetes' objects of them.
set -euo pipefail

dir=${1:?give a folder for the keys and passwords}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
talkfleet=${TALKFLEET:-talkfleet}
mkdir -p "$dir"
# The folder is closed; the files within are open, for a container that mounts one is another user.
chmod 700 "$dir"
umask 022

# password NAME: made once.
password() {
    [[ -s $dir/$1.password ]] || openssl rand -hex 24 >"$dir/$1.password"
    cat "$dir/$1.password"
}

"$talkfleet" topology keys --dir "$dir"
chmod 644 "$dir"/*.nk

acl=$(<"$root/deploy/redis/users.acl")
for user in gateway response archive worker operator; do
    acl=${acl//"\${${user^^}_PASSWORD}"/$(password "valkey-$user")}
    echo "redis://$user:$(password "valkey-$user")@valkey:6379" >"$dir/redis-$user.url"
done
printf '%s\n' "$acl" >"$dir/users.acl"

password postgres-superuser >/dev/null
{
    echo "create extension if not exists vector;"
    for user in archive retrieval; do
        echo "create role $user login password '$(password "postgres-$user")' in role talkfleet_$user;"
        echo "postgres://$user:$(password "postgres-$user")@postgres:5432/talkfleet" >"$dir/database-$user.url"
    done
    echo "create role migrator login password '$(password postgres-migrator)' in role talkfleet_owner;"
    echo "alter role migrator set role = talkfleet_owner;"
    # Grafana's; what it may read is said once there are tables (deploy/observe/grafana/role.sql).
    echo "create role talkfleet_boards login password '$(password postgres-boards)';"
    echo "grant connect on database talkfleet to talkfleet_boards;"
    echo "grant usage on schema public to talkfleet_boards;"
    printf 'ARCHIVE_SSLMODE=disable\nARCHIVE_PASSWORD=%s\n' "$(password postgres-boards)" >"$dir/grafana.env"
    echo "postgres://migrator:$(password postgres-migrator)@postgres:5432/talkfleet" >"$dir/database-owner.url"
} >"$dir/logins.sql"
