#!/usr/bin/env bash
# deploy/k8s/secrets.sh DIR: what overlays/small needs to know, as objects for `kubectl apply -f -`, made of the files that
# ../secrets.sh keeps in DIR. For production it shows which secrets there are; yours come from where you keep secrets.
set -euo pipefail

dir=${1:?give a folder that keeps the keys and passwords}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/deploy/secrets.sh" "$dir" >&2

# created KIND ARGUMENTS...: as YAML, without asking the cluster.
created() {
    kubectl create "$@" --namespace talkfleet --dry-run=client --output yaml
    echo ---
}

# line FILE: without the newline at its end.
line() {
    printf %s "$(<"$dir/$1")"
}

created configmap nats-permissions --from-file="$root/deploy/nats/permissions.conf"
created secret generic nats-keys --from-file="$dir/keys.conf" --from-file="$dir/system.conf"
for user in gateway intent retrieval response archive operator; do
    created secret generic "nats-$user" --from-file=nkey="$dir/$user.nk"
done
created secret generic valkey-users --from-file="$dir/users.acl"
for user in gateway response archive; do
    created secret generic "redis-$user" --from-literal=url="$(line "redis-$user.url")"
done
created secret generic postgres --from-literal=password="$(line postgres-superuser.password)" \
    --from-file=10-roles.sql="$root/deploy/sql/roles.sql" --from-file=20-logins.sql="$dir/logins.sql"
for user in owner archive retrieval; do
    created secret generic "database-$user" --from-literal=url="$(line "database-$user.url")"
done
