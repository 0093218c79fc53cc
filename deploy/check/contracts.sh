#!/usr/bin/env bash
# The written contracts, held to by the tools that their readers use: deploy/check/contracts.sh [SECONDS]
#
# openapi.json by its validator, asyncapi.json by AsyncAPI's own parser; then a fleet is started, and schemathesis asks its
# gateway for SECONDS (60 without them) whatever openapi.json allows and forbids: no 5xx, no status, content type, header or
# body that the document does not know, nothing let in that it forbids, nothing refused that it allows, nobody without a key.
# Needs python3 with pip, node with npm, and a built target/debug/talkfleet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-60}
tools=$PWD/target/ci-tools/contracts
data=$PWD/target/contracts
talkfleet=${TALKFLEET:-target/debug/talkfleet}
parser=@asyncapi/parser@3.6.6

# fetched NAME COMMAND...: runs a package client once for each state of its arguments; offline is no fault of the change.
fetched() {
    local name=$1 stamp log=$tools/$1.log
    shift
    stamp=$tools/$name.$(printf '%s\n' "$@" "$(cat deploy/check/contracts.txt)" | sha256sum | cut -c 1-16)
    [[ ! -e $stamp ]] || return 0
    mkdir -p "$tools"
    if "$@" >"$log" 2>&1; then
        touch "$stamp"
    elif grep -qiE 'name resolution|NewConnectionError|ConnectTimeout|ProxyError|unreachable|EAI_AGAIN|ENOTFOUND|ETIMEDOUT' "$log"; then
        echo "skipped: $name could not be fetched offline"
        return 1
    else
        cat "$log"
        exit 1
    fi
}

if fetched npm npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools/npm" "$parser"; then
    NODE_PATH=$tools/npm/node_modules node deploy/check/asyncapi.cjs schemas/asyncapi.json
fi

fetched pip python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade \
    --target "$tools/pip" --requirement deploy/check/contracts.txt || exit 0
export PYTHONPATH=$tools/pip
python3 -m openapi_spec_validator schemas/openapi.json

# Without the demo, whose intents take a minute to train: what an answer says is the tests' matter. Bad tokens are tried by
# the hundred, and each is to hear that it is bad.
rm -rf "$data"
mkdir -p "$data"
"$talkfleet" up --no-demo --data "$data" --ready-file "$data/ready.json" --port 0 --log error \
    --gateway-set limits.auth_failures_per_minute=0 >"$data/up.log" 2>&1 &
fleet=$!
trap 'kill "$fleet" 2>/dev/null; wait "$fleet" 2>/dev/null || true' EXIT
for _ in $(seq 240); do
    [[ ! -e $data/ready.json ]] || break
    kill -0 "$fleet" 2>/dev/null || { cat "$data/up.log"; exit 1; }
    sleep 0.5
done
told() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$data/ready.json" "$1"; }

API_KEY=$(told api_key)
export API_KEY HYPOTHESIS_STORAGE_DIRECTORY=$data/hypothesis
# The conversation that the document gives as its example, so that a history is looked at which is one.
python3 - "$(told gateway)" <<'PY'
import json, os, sys, urllib.request

body = json.dumps({"text": "How long does delivery take?", "conversation": "talk-1"}).encode()
headers = {"Authorization": f"Bearer {os.environ['API_KEY']}", "Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(f"{sys.argv[1]}/v1/chat", body, headers)).read()
PY
python3 -m schemathesis.cli --config-file deploy/check/schemathesis.toml run schemas/openapi.json \
    --url "$(told gateway)" --max-time "$seconds" --report junit --report-junit-path "$data/junit.xml"
