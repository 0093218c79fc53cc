#!/usr/bin/env bash
# Renders every stage of every overlay, or of the folder that is given, with the real kubectl, and holds each object against the
# strict schemas of five releases of Kubernetes, and KEDA's and the Prometheus operator's against theirs. About 20 s; the first time
# it fetches 75 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${1:-deploy/k8s/overlays}
python=target/ci-tools/manifests
node=target/ci-tools/crds
log=target/ci-manifests.log
mkdir -p target

fetched() {
    "$@" >>"$log" 2>&1 && return
    cat "$log"
    grep -qiE 'NewConnectionError|name resolution|ConnectTimeout|ProxyError|Network is unreachable|ENOTFOUND|ETIMEDOUT|EAI_AGAIN' "$log" || exit 1
    echo "skipped: manifests are not checked, the schemas could not be fetched offline"
    exit 0
}

: >"$log"
fetched deploy/check/kubectl.sh
[[ -d $python/kubernetes_validate ]] ||
    fetched python3 -m pip install --quiet --target "$python" kubernetes-validate==1.37.0
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
PYTHONPATH=$python PATH=target/ci-tools/kube:$PATH python3 deploy/check/manifests.py "$folder" "$rendered/custom.json"

if ! command -v npm >/dev/null; then
    echo "skipped: KEDA's objects are not checked, npm is not here"
    exit 0
fi
[[ -d $node/node_modules/@kubernetes-models/prometheus-operator ]] ||
    fetched npm install --silent --no-audit --no-fund --prefix "$node" \
        @kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0
cp deploy/check/custom.mjs "$node/custom.mjs"
if [[ $(<"$rendered/custom.json") != "[]" ]]; then
    node "$node/custom.mjs" "$rendered/custom.json"
fi
