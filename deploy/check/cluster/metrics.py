"""The three interfaces by which autoscalers are told metrics, with figures that a check sets: what metrics-server and
prometheus-adapter are in a cluster. It listens on an address of its own on the loopback interface, since an API server calls no
127.0.0.1."""

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
import urllib.parse

ADDRESS = "198.18.0.1"
PODS, EXTERNAL = "metrics.k8s.io", "external.metrics.k8s.io"
VERSION = "v1beta1"


class Figures:
    """What is told: of every pod its share of a core and its memory, and what lies outside of pods by name."""

    def __init__(self, fleet):
        self.fleet, self.cpu, self.memory, self.external = fleet, "100m", "64Mi", {}

    def answer(self, path, query):
        parts = path.strip("/").split("/")
        group, rest = parts[1], parts[3:]
        if not rest:
            name = "pods" if group == PODS else "any"
            resources = [{"name": name, "namespaced": True, "kind": "Any", "verbs": ["get", "list"]}]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{VERSION}", "resources": resources}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if group == PODS:
            pods = self.fleet.api.list(f"/api/v1/namespaces/{rest[1]}/pods?{query}")
            containers = [{"name": "talkfleet", "usage": {"cpu": self.cpu, "memory": self.memory}}]
            said = {"timestamp": stamp, "window": "15s", "containers": containers}
            items = [{"metadata": pod["metadata"]} | said for pod in pods]
            return {"kind": "PodMetricsList", "apiVersion": f"{PODS}/{VERSION}", "items": items}
        name, labels = rest[2], urllib.parse.parse_qs(query).get("labelSelector", [""])[0]
        value = self.external.get((name, labels))
        items = [] if value is None else [{"metricName": name, "metricLabels": {}, "timestamp": stamp, "value": str(value)}]
        return {"kind": "ExternalMetricValueList", "apiVersion": f"{EXTERNAL}/{VERSION}", "items": items}


@contextlib.contextmanager
def told(fleet, folder):
    """Tells figures to the autoscalers of a control plane."""
    figures = Figures(fleet)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            where = urllib.parse.urlsplit(self.path)
            body = json.dumps(figures.answer(where.path, where.query)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with contextlib.ExitStack() as stack:
        subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
        stack.callback(subprocess.run, ["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], check=True)
        server = stack.enter_context(http.server.ThreadingHTTPServer((ADDRESS, 0), Handler))
        keys = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        keys.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        server.socket = keys.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        name = {"name": "metrics", "namespace": "default"}
        port = {"port": 443, "targetPort": server.server_port}
        fleet.api.put({"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": {"ports": [port]}})
        place = {"addresses": [{"ip": ADDRESS}], "ports": [{"port": server.server_port}]}
        fleet.api.put({"apiVersion": "v1", "kind": "Endpoints", "metadata": name, "subsets": [place]})
        for group in (PODS, EXTERNAL):
            spec = {"group": group, "version": VERSION, "insecureSkipTLSVerify": True, "service": name}
            spec |= {"groupPriorityMinimum": 100, "versionPriority": 100}
            meta = {"name": f"{VERSION}.{group}"}
            fleet.api.put({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": meta, "spec": spec})
        yield figures
