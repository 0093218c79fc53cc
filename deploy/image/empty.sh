#!/bin/sh
# Gives every crate of the workspace an empty library, programs that do nothing, and the benches that its manifest names.
set -eu
for manifest in */Cargo.toml deploy/ctl/Cargo.toml; do
    crate=$(dirname "$manifest")
    mkdir -p "$crate/src" "$crate/benches"
    : >"$crate/src/lib.rs"
    echo 'fn main() {}' >"$crate/src/main.rs"
    sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' "$manifest" | while read -r bench; do
        echo 'fn main() {}' >"$crate/benches/$bench.rs"
    done
done
rm shared/src/main.rs
