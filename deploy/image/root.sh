#!/usr/bin/env bash
# deploy/image/root.sh DIR [BINARIES]: puts together, without Docker, exactly the root file system that the image holds: the three
# programs with the shared objects that they need and nothing else, encoders, configuration, licences, and an SBOM. The Dockerfile
# runs this very script in its build stage, so that what is tested here is what is shipped. BINARIES is target/release.
set -euo pipefail

dir=${1:?give the folder to put it in}
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binaries=${2:-$repo/target/release}
programs=(talkfleet talkfleet-gateway talkfleet-worker)
umask 022
rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
mkdir -p "$dir"/{etc/ssl/certs,etc/talkfleet,proc,run/secrets,tmp,usr/bin,usr/share/doc/talkfleet,usr/share/talkfleet,var/cache/talkfleet}
chmod 1777 "$dir/tmp"

# What the programs are linked with, at the paths where their loader looks.
for program in "${programs[@]}"; do
    install -m 755 "$binaries/$program" "$dir/usr/bin/"
    [[ -n ${KEEP_SYMBOLS:-} ]] || strip --strip-debug "$dir/usr/bin/$program"
    ldd "$binaries/$program"
done | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r object; do
    (cd / && cp --dereference --parents "${object#/}" "$dir/")
    { dpkg-query --search "$(realpath "$object")" "$object" 2>/dev/null || true; } | cut -d: -f1
done | sort -u >"$dir/usr/share/doc/talkfleet/debian.txt"

# Who runs it, whom it believes, and what differs from the defaults in a container.
echo 'talkfleet:x:65532:65532::/var/cache/talkfleet:/usr/sbin/nologin' >"$dir/etc/passwd"
echo 'talkfleet:x:65532:' >"$dir/etc/group"
echo 'hosts: files dns' >"$dir/etc/nsswitch.conf"
cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
cp "$repo"/deploy/k8s/base/fleet/{gateway,worker}.toml "$dir/etc/talkfleet/"
chown 65532:65532 "$dir/var/cache/talkfleet"

# The encoders, as schemas/engines.toml pins them; licences; the list of everything.
python3 "$repo/deploy/image/encoders.py" "$repo/schemas/engines.toml" "$dir"
cp "$repo/LICENSE" "$dir/usr/share/doc/talkfleet/"
python3 "$repo/deploy/image/bom.py" "$repo" "$dir/usr/share/doc/talkfleet"

# The same sources and tools give the same bytes, whenever they are put together.
find "$dir" -exec touch --no-dereference --date=@"${SOURCE_DATE_EPOCH:-0}" {} +
