#!/usr/bin/env bash
# Builds the gateway and the worker of the release before this one (the commit in schemas/previous-release) into a folder,
# whose name it prints: TALKFLEET_PREVIOUS_BIN=$(deploy/check/previous.sh) cargo test --test it previous
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

commit=$(<schemas/previous-release)
place=$PWD/target/previous
bin=$place/bin-$commit
if [[ -x $bin/talkfleet-gateway && -x $bin/talkfleet-worker ]]; then
    echo "$bin"
    exit
fi
git cat-file -e "$commit^{commit}" 2>/dev/null || {
    echo "commit $commit of schemas/previous-release is not here: fetch the whole history" >&2
    exit 1
}
mkdir -p "$place/source" "$place/target/debug" "$bin"
git archive "$commit" | tar -x -C "$place/source"

# What others wrote is compiled already, by the tests: hard links cost nothing, and our own crates are left out.
for part in build deps .fingerprint; do
    if [[ -d target/debug/$part && ! -d $place/target/debug/$part ]]; then
        cp -al "target/debug/$part" "$place/target/debug/$part"
        find "$place/target/debug/$part" -maxdepth 1 -name '*talkfleet*' -exec rm -rf {} +
    fi
done
CARGO_TARGET_DIR=$place/target "${CARGO:-cargo}" build --locked --manifest-path "$place/source/Cargo.toml" \
    -p talkfleet-gateway -p talkfleet-worker >&2
cp "$place/target/debug/talkfleet-gateway" "$place/target/debug/talkfleet-worker" "$bin/"
rm -rf "$place/source" "$place/target"
echo "$bin"
