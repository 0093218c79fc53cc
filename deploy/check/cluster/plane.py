"""A control plane of Kubernetes on loopback: etcd, the API server, the controllers and the scheduler, all real; and nodes that
are not, whose kubelet says of every pod what a kubelet would without running anything."""

import contextlib
import json
import pathlib
import secrets
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE_S = 60
LOOK_S = 0.1
# A third of what they do by themselves; what they wait for is told in seconds and stays.
AUTOSCALERS_LOOK_S = 5


class Refused(Exception):
    """What the API server said no to."""

    def __init__(self, status, told):
        super().__init__(f"{status}: {told.get('message', told)}")
        self.status = status


class Api:
    """The API server, by a user who may do everything."""

    def __init__(self, url, certificate, token):
        self.url, self.token = url, token
        self.trust = ssl.create_default_context(cafile=certificate)
        self.kinds = {}

    def ask(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=PATIENCE_S) as answer:
                text = answer.read()
                return json.loads(text) if text.startswith(b"{") else text.decode()
        except urllib.error.HTTPError as error:
            text = error.read()
            raise Refused(error.code, json.loads(text) if text.startswith(b"{") else {"message": text.decode()}) from None

    def place(self, thing):
        """Where things of a kind are kept."""
        version, kind = thing["apiVersion"], thing["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self.kinds:
            found = self.ask("GET", root)["resources"]
            self.kinds[version] = {one["kind"]: one for one in found if "/" not in one["name"]}
        found = self.kinds[version][kind]
        if found["namespaced"]:
            return f"{root}/namespaces/{thing['metadata'].get('namespace', 'default')}/{found['name']}"
        return f"{root}/{found['name']}"

    def put(self, thing):
        """Makes a thing, or changes one that is there; what the API server made of it."""
        try:
            return self.ask("POST", self.place(thing), thing)
        except Refused as error:
            if error.status != 409:
                raise
        path = f"{self.place(thing)}/{thing['metadata']['name']}"
        return self.ask("PATCH", path, thing, "application/merge-patch+json")

    def change(self, path, change):
        return self.ask("PATCH", path, change, "application/merge-patch+json")

    def list(self, path):
        return self.ask("GET", path)["items"]


def until(what, look):
    """Waits until a look brings something."""
    over = time.monotonic() + PATIENCE_S
    while not (found := look()):
        if time.monotonic() > over:
            raise SystemExit(f"still not so after {PATIENCE_S} s: {what}")
        time.sleep(LOOK_S)
    return found


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def control_plane(programs):
    """Starts one that nothing is in; ends it with everything that it has started."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client, peer, secure, controllers, scheduler = free_ports(5)
        token, key, certificate = secrets.token_hex(16), folder / "key.pem", folder / "certificate.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=control-plane"]
        make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
        subprocess.run(make, check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f"{token},check,check,system:masters\n")
        url = f"https://127.0.0.1:{secure}"
        config = folder / "kubeconfig"
        config.write_text(json.dumps(kubeconfig(url, certificate, token)))

        def start(name, *flags):
            log = stack.enter_context(open(folder / f"{name}.log", "w"))
            process = subprocess.Popen([programs / name, *flags], stdout=log, stderr=log)
            stack.callback(end, process)
            return process

        api = Api(url, certificate, token)
        start("etcd", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", *etcd_addresses(client, peer))
        server = start("kube-apiserver", *server_flags(folder, client, secure, key, certificate))
        until("an API server", lambda: is_ready(api, server, folder))
        common = [f"--kubeconfig={config}", "--leader-elect=false", "--port=0", "--bind-address=127.0.0.1"]
        # Nobody's node reports its health here.
        ours = [f"--service-account-private-key-file={key}", "--node-monitor-grace-period=24h", f"--root-ca-file={certificate}"]
        ours.append(f"--horizontal-pod-autoscaler-sync-period={AUTOSCALERS_LOOK_S}s")
        start("kube-controller-manager", *common, f"--secure-port={controllers}", f"--cert-dir={folder}", *ours)
        start("kube-scheduler", *common, f"--secure-port={scheduler}", f"--cert-dir={folder}")
        yield api, config


def kubeconfig(url, certificate, token):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": url, "certificate-authority": str(certificate)}}],
        "users": [{"name": "check", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "check"}}],
        "current-context": "it",
    }


def etcd_addresses(client, peer):
    ours, others = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    listen = [f"--listen-client-urls={ours}", f"--advertise-client-urls={ours}", f"--listen-peer-urls={others}"]
    return [*listen, f"--initial-advertise-peer-urls={others}", f"--initial-cluster=default={others}"]


def server_flags(folder, etcd, secure, key, certificate):
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        # What pods would reach it by; nothing runs in them, and a loopback address is not taken.
        "--endpoint-reconciler-type=none",
        # No proxy leads from a service's address to who serves it.
        "--enable-aggregator-routing=true",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={folder / 'tokens.csv'}",
        f"--tls-private-key-file={key}",
        f"--tls-cert-file={certificate}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]


def is_ready(api, server, folder):
    if server.poll() is not None:
        raise SystemExit((folder / "kube-apiserver.log").read_text()[-2_000:])
    with contextlib.suppress(OSError, Refused):
        return api.ask("GET", "/readyz") == "ok"


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Nodes:
    """Nodes of several zones, and the kubelet of all of them: a pod that was put on a node becomes ready after a while, a job's
    pod has done its work, one that is to go has gone after a while."""

    def __init__(self, api, count, zones, cpu, memory):
        self.api, self.ready_after_s, self.goes_after_s = api, 0.3, 0.3
        self.since, self.ended = {}, threading.Event()
        self.names = [f"node-{number}" for number in range(count)]
        for number, name in enumerate(self.names):
            room = {"cpu": str(cpu), "memory": memory, "pods": "110"}
            place = {"topology.kubernetes.io/zone": f"zone-{number % zones}", "kubernetes.io/hostname": name}
            labels = place | {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            api.put(node)
            conditions = [{"type": "Ready", "status": "True", "reason": "Check", "lastHeartbeatTime": now()}]
            status = {"capacity": room, "allocatable": room, "conditions": conditions}
            api.change(f"/api/v1/nodes/{name}/status", {"status": status})
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def work(self):
        while not self.ended.wait(LOOK_S):
            for pod in self.api.list("/api/v1/pods"):
                # Somebody else may have been faster.
                with contextlib.suppress(Refused):
                    self.attend(pod)
            with contextlib.suppress(Refused):
                self.give_volumes()

    def attend(self, pod):
        meta, spec = pod["metadata"], pod["spec"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if "nodeName" not in spec:
            return
        if "deletionTimestamp" in meta:
            if self.waited((meta["uid"], "goes"), self.goes_after_s):
                self.api.ask("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
        elif pod["status"]["phase"] == "Pending" and self.waited((meta["uid"], "starts"), self.ready_after_s):
            job = any(owner["kind"] == "Job" for owner in meta.get("ownerReferences", []))
            is_ready = "False" if job else "True"
            conditions = [
                {"type": kind, "status": is_ready, "lastTransitionTime": now()} for kind in ("Ready", "ContainersReady")
            ]
            status = {"phase": "Succeeded" if job else "Running", "conditions": conditions, "podIP": "10.0.0.1"}
            self.api.ask("PATCH", f"{path}/status", {"status": status}, "application/strategic-merge-patch+json")

    def waited(self, what, for_s):
        return time.monotonic() - self.since.setdefault(what, time.monotonic()) >= for_s

    def give_volumes(self):
        """A volume for each claim, as a cluster's provisioner makes them."""
        for claim in self.api.list("/api/v1/persistentvolumeclaims"):
            if claim["status"]["phase"] != "Pending":
                continue
            name, space = claim["metadata"]["name"], claim["metadata"]["namespace"]
            spec = {
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": claim["spec"]["accessModes"],
                "hostPath": {"path": f"/{name}"},
                "claimRef": {"kind": "PersistentVolumeClaim", "name": name, "namespace": space},
            }
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
            self.api.ask("POST", "/api/v1/persistentvolumes", volume)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
