#!/usr/bin/env bash
# Asks a real model server through the worker's remote arm, in each shape of answer that such servers send. It needs MLServer
# (`pip install -r deploy/models/intent/requirements.txt`; MLSERVER names its program if it is not on the PATH) and cargo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mlserver=${MLSERVER:-mlserver}
command -v "$mlserver" >/dev/null || { echo "MLServer is not here: pip install -r deploy/models/intent/requirements.txt"; exit 1; }

folder=$(mktemp -d)
read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))')
printf '{"host": "127.0.0.1", "http_port": %s, "grpc_port": %s, "metrics_port": %s, "parallel_workers": 0, "debug": false}\n' \
    "$http" "$grpc" "$metrics" >"$folder/settings.json"
servers=()
for answers in labels huggingface logits; do
    mkdir "$folder/$answers"
    cp deploy/models/intent/runtime.py "$folder/$answers/"
    sed -e "s|\"intent\"|\"$answers\"|" -e "s|\"labels\" }|\"$answers\" }|" -e "s|\.\./\.\./\.\.|$PWD|" \
        deploy/models/intent/model-settings.json >"$folder/$answers/model-settings.json"
    servers+=("kserve_v2 http://127.0.0.1:$http $answers")
done

# One text at a time: more threads than one only wait for one another.
OPENBLAS_NUM_THREADS=1 "$mlserver" start "$folder" >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
for _ in $(seq 60); do
    python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$http/v2/health/ready', timeout=2)" 2>/dev/null && break
    kill -0 "$server" || { cat "$folder/log"; exit 1; }
    sleep 1
done

TALKFLEET_MODEL_SERVERS=$(IFS=,; echo "${servers[*]}") \
    cargo test -q -p talkfleet-worker --lib real_servers_are_understood -- --ignored --nocapture
