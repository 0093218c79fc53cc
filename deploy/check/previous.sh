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
    echo "skipped: the previous release is not built, its commit $commit is not in this clone; fetch the whole history" >&2
    exit 0
}
mkdir -p "$place/source" "$place/target/debug" "$bin"
git archive "$commit" | tar -x -C "$place/source"

# What others wrote is compiled already by the tests where its version and features are the same: hard links cost nothing, and
# our own crates are left out. The tests named `binary` are asked for since the programs come with them, and features are then
# chosen as for all tests.
for part in build deps .fingerprint; do
    if [[ -d target/debug/$part && ! -d $place/target/debug/$part ]]; then
        cp -al "target/debug/$part" "$place/target/debug/$part"
        find "$place/target/debug/$part" -maxdepth 1 -name '*talkfleet*' -exec rm -rf {} +
    fi
done
CARGO_TARGET_DIR=$place/target "${CARGO:-cargo}" test --no-run --locked --manifest-path "$place/source/Cargo.toml" \
    --workspace --test binary --config 'profile.dev.package.talkfleet-worker.opt-level=1' >&2
cp "$place/target/debug/talkfleet-gateway" "$place/target/debug/talkfleet-worker" "$bin/"
rm -rf "$place/source" "$place/target"
echo "$bin"
