#!/usr/bin/env bash
# Puts a redis-server that speaks TLS into target/ci-tools/redis, for the test of Redis over TLS: the fleet's own Valkey comes
# without. Debian's packages are unpacked, not installed, so that every other test goes on with the usual server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

into=$PWD/target/ci-tools/redis
[[ -x $into/redis-server ]] && exit 0
command -v apt-get >/dev/null || { echo "skipped: no apt-get, so Redis over TLS is not tested"; exit 0; }
mkdir -p "$into/debs"
(
    cd "$into/debs"
    apt-get download redis-tools libjemalloc2 liblzf1 >apt.log 2>&1 || { apt-get update >>apt.log 2>&1 && apt-get download redis-tools libjemalloc2 liblzf1 >>apt.log 2>&1; }
) || { echo "skipped: Debian's redis could not be fetched, so Redis over TLS is not tested"; exit 0; }
for package in "$into"/debs/*.deb; do dpkg -x "$package" "$into/unpacked"; done
printf '#!/bin/sh\n# A server by its other name: it looks at how it was called.\nLD_LIBRARY_PATH=%q exec -a redis-server %q "$@"\n' \
    "$(dirname "$(find "$into/unpacked" -name 'libjemalloc.so.2' | head -n 1)")" "$into/unpacked/usr/bin/redis-check-rdb" >"$into/redis-server"
sed -i '1s|.*|#!/bin/bash|' "$into/redis-server"
chmod +x "$into/redis-server"
"$into/redis-server" --version
