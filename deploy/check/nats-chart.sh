#!/usr/bin/env bash
# deploy/check/nats-chart.sh CHART_DIR: renders NATS' official chart, of which CHART_DIR is an unpacked copy (helm/charts/nats of
# github.com/nats-io/k8s, or `helm pull --untar`), with the values of deploy/k8s/nats/, holds the objects against the schemas, and
# gives the configuration that comes of it to a real nats-server. It needs openssl and a built `talkfleet`. Not part of .ci/run, for
# the chart is not ours to keep here. About 15 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

chart=${1:?give the folder of an unpacked chart}
talkfleet=${TALKFLEET:-target/debug/talkfleet}
[[ -x $talkfleet ]] || { echo "$talkfleet is not there: cargo build, or set TALKFLEET"; exit 1; }
helm=$(deploy/check/kubectl.sh)/helm
server=$(deploy/check/nats-server.sh)/nats-server
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/overlay" "$root/nats-config" "$root/nats-users" "$root/certs" "$root/data" "$root/run"
"$helm" template nats "$chart" --namespace talkfleet --values deploy/k8s/nats/values.yaml >"$root/overlay/nats.yaml"
printf 'resources: [nats.yaml]\n' >"$root/overlay/kustomization.yaml"
deploy/check/manifests.sh "$root/overlay"

# What the pod would be given: the configuration, users with keys of their own, certificates.
"$talkfleet" topology keys --dir "$root/nats-users" >/dev/null
cp deploy/nats/permissions.conf "$root/nats-users/"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=nats \
    -keyout "$root/certs/tls.key" -out "$root/certs/tls.crt" 2>/dev/null
cp "$root/certs/tls.crt" "$root/certs/ca.crt"
PYTHONPATH=target/ci-tools/manifests python3 - "$root" <<'PY'
import pathlib, re, sys, yaml

root = pathlib.Path(sys.argv[1])
things = [thing for thing in yaml.safe_load_all((root / "overlay/nats.yaml").read_text()) if thing]
config = next(thing for thing in things if thing["kind"] == "ConfigMap")["data"]["nats.conf"]
config = re.sub(r"/etc/nats-certs/\w+|/etc/nats-ca-cert", str(root / "certs"), config)
config = config.replace('"/data"', f'"{root}/data"').replace("/var/run/nats", f"{root}/run")
(root / "nats-config/nats.conf").write_text(config)
pod = next(thing for thing in things if thing["kind"] == "StatefulSet")["spec"]["template"]["spec"]
for container in pod["containers"]:
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and rights["capabilities"]["drop"] == ["ALL"], container["name"]
assert pod["securityContext"]["runAsNonRoot"] and pod["terminationGracePeriodSeconds"] == 60, "the pod's own"
for promise in ('"sync_interval": "always"', "permissions.conf", '"system_account": "SYS"', '"verify": true'):
    assert promise in config, promise
PY
SERVER_NAME=nats-0 "$server" -t -c "$root/nats-config/nats.conf"
