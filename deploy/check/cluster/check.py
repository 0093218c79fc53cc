"""What the manifests promise of a cluster, asked of a real control plane: that it takes every object and keeps every field, and
what its own controllers and scheduler make of them."""

import collections
import concurrent.futures
import contextlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import yaml
from metrics import told
from plane import LOOK_S, Nodes, Refused, control_plane, until

ROLES = ["gateway", "response", "intent", "retrieval", "archive"]
JOBS = ["job/topology-apply", "job/database-migrate"]
OVERLAYS = pathlib.Path("deploy/k8s/overlays")
SPACE = "/namespaces/talkfleet"
ZONES, NODES, FEW_NODES, NODE_CPU, NODE_MEMORY = 3, 6, 2, 10, "24Gi"
# What a quantity's suffix stands for; the API server writes quantities in its own way.
SUFFIXES = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")


def rendered(folder):
    text = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True).stdout
    return [thing for thing in yaml.safe_load_all(text) if thing]


def is_ours(thing):
    """Whether a kind is Kubernetes' own; KEDA's and the Prometheus operator's would need them."""
    group = thing["apiVersion"].split("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def as_then(thing):
    """The same thing for a control plane of 1.20: by the name that it had there, without what was not there yet."""
    kind, spec = thing["kind"], thing.get("spec", {})
    if kind == "PodDisruptionBudget":
        spec.pop("unhealthyPodEvictionPolicy", None)
        return thing | {"apiVersion": "policy/v1beta1"}
    if kind == "HorizontalPodAutoscaler":
        return thing | {"apiVersion": "autoscaling/v2beta2"}
    pod = spec.get("template", {}).get("spec", {})
    for constraint in pod.get("topologySpreadConstraints", []):
        constraint.pop("matchLabelKeys", None)
    for container in pod.get("containers", []):
        before_it_stops = container.get("lifecycle", {}).get("preStop", {})
        if "sleep" in before_it_stops:
            container["lifecycle"]["preStop"] = {"exec": {"command": ["sleep", str(before_it_stops["sleep"]["seconds"])]}}
    return thing


def amount(value):
    """A quantity as a number; anything else as it is."""
    found = QUANTITY.fullmatch(str(value))
    return float(found[1]) * SUFFIXES[found[2]] if found and found[2] in SUFFIXES else value


def by_name(metric):
    return json.dumps(metric, sort_keys=True)


def lost(sent, kept, where=""):
    """Fields that the API server did not keep as they were sent: it says nothing of those that it does not know."""
    if isinstance(sent, dict):
        for name, value in sent.items():
            inside = f"{where}.{name}".lstrip(".")
            if not isinstance(kept, dict) or name not in kept:
                # What is empty may be left out.
                yield from [inside] if value not in ({}, [], None, "", 0, False) else []
            else:
                yield from lost(value, kept[name], inside)
    elif isinstance(sent, list):
        if where.endswith(".metrics") and isinstance(kept, list):
            # Nobody's order: 1.20 keeps some of them elsewhere.
            sent, kept = sorted(sent, key=by_name), sorted(kept, key=by_name)
        same = isinstance(kept, list) and len(sent) == len(kept)
        yield from (of for pair in zip(sent, kept, strict=True) for of in lost(*pair, f"{where}[]")) if same else [where]
    elif amount(sent) != amount(kept):
        yield f"{where}: {sent} became {kept}"


def apply(api, folder, problems):
    """Puts a stage; how many things were taken, and how many were not for this control plane."""
    taken, others = 0, 0
    for thing in rendered(folder):
        if not is_ours(thing):
            others += 1
            continue
        name = f"{folder}: {thing['kind']} {thing['metadata']['name']}"
        thing = as_then(thing)
        try:
            kept = api.put(thing)
            for field in lost(thing, kept):
                problems.append(f"{name} loses {field}")
            taken += 1
        except Refused as error:
            problems.append(f"{name} is refused: {error}")
    return taken, others


class Problems(list):
    """What is not as promised, told as soon as it is found."""

    def append(self, problem):
        print(f"PROBLEM {problem}", flush=True)
        super().append(problem)


class Fleet:
    """The roles as the control plane has them."""

    def __init__(self, api, config):
        self.api, self.config = api, config

    def kubectl(self, *args):
        done = subprocess.run(
            ["kubectl", *args], env=os.environ | {"KUBECONFIG": str(self.config)}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def pods(self, role):
        return self.api.list(f"/api/v1{SPACE}/pods?labelSelector=app.kubernetes.io/component={role},talkfleet.release=stable")

    def ready(self, role):
        return [pod for pod in self.pods(role) if is_ready(pod)]

    def scale(self, role, replicas):
        self.api.change(f"/apis/apps/v1{SPACE}/deployments/{role}/scale", {"spec": {"replicas": replicas}})

    def settled(self, role):
        """Whether as many are ready as there should be, and no others are there."""
        wanted = self.api.ask("GET", f"/apis/apps/v1{SPACE}/deployments/{role}")["spec"]["replicas"]
        return len(self.ready(role)) == wanted == len(self.pods(role))

    def settle(self, *roles):
        for role in roles:
            until(f"{role} to be as many as it should be", lambda role=role: self.settled(role))

    def per_zone(self, role):
        return collections.Counter(int(pod["spec"]["nodeName"].rsplit("-")[-1]) % ZONES for pod in self.ready(role))

    def evict(self, pod):
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name, "namespace": "talkfleet"}}
        try:
            self.api.ask("POST", f"/api/v1{SPACE}/pods/{name}/eviction", eviction)
            return True
        except Refused as error:
            if error.status != 429:
                raise
            return False

    @contextlib.contextmanager
    def watched(self, *roles):
        """The fewest and the most of each role that were ready while something went on, from before it to after it."""
        seen, ended = {role: [math.inf, 0] for role in roles}, threading.Event()

        def look():
            for role, bounds in seen.items():
                ready = len(self.ready(role))
                bounds[:] = min(bounds[0], ready), max(bounds[1], ready)

        def keep_looking():
            while not ended.wait(LOOK_S / 2):
                look()

        look()
        with concurrent.futures.ThreadPoolExecutor(1) as watchers:
            watcher = watchers.submit(keep_looking)
            try:
                yield seen
            finally:
                ended.set()
                # A look that failed fails the check: nobody was watching any more.
                watcher.result()


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def started(fleet, overlay, stages, problems):
    """Applies the stages as deploy/k8s/README.md does."""
    fleet.kubectl("apply", "-f", "deploy/k8s/base/foundation/namespace.yaml")
    for stage in stages:
        taken, others = apply(fleet.api, OVERLAYS / overlay / stage, problems)
        beside = f"; {others} of other kinds left out" if others else ""
        print(f"{overlay}/{stage}: {taken} objects taken{beside}")
        if stage == "prepare":
            fleet.kubectl("-n", "talkfleet", "wait", "--for=condition=complete", *JOBS, "--timeout=60s")
    fleet.settle(*ROLES)


def small(fleet, problems):
    started(fleet, "small", ["engines", "prepare", "fleet", "hpa"], problems)
    for engine in ["nats", "valkey", "postgres"]:
        fleet.kubectl("-n", "talkfleet", "rollout", "status", f"statefulset/{engine}", "--timeout=60s")


def minimum(fleet, problems):
    """The cluster's own autoscaler begins by bringing each role to its least."""
    for role in ROLES:
        scaler = fleet.api.ask("GET", f"/apis/autoscaling/v2beta2{SPACE}/horizontalpodautoscalers/{role}")["spec"]
        until(f"{role} at its minimum", lambda role=role, least=scaler["minReplicas"]: len(fleet.ready(role)) == least)
        print(f"{role}: {scaler['minReplicas']} at least, {scaler['maxReplicas']} at most")


def spread(fleet, problems):
    for role in ["gateway", "response"]:
        fleet.scale(role, 3 * ZONES)
        fleet.settle(role)
        zones = sorted(fleet.per_zone(role).values())
        print(f"{role}: {zones} of 9 pods in three zones")
        if len(zones) < ZONES or zones[-1] - zones[0] > 1:
            problems.append(f"{role} is spread over zones as {zones}")


def budget(fleet, problems):
    """Who empties nodes is given one pod of a role at a time, but for the archive, which catches up."""
    for role in ROLES:
        fleet.settle(role)
        pods = fleet.ready(role)
        went = [fleet.evict(pod) for pod in pods]
        print(f"{role}: {sum(went)} of {len(pods)} pods may be evicted at once")
        if went != ([True] * len(pods) if role == "archive" else [True] + [False] * (len(pods) - 1)):
            problems.append(f"{role}: evicted at once were {went}")
    fleet.settle(*ROLES)


def drained(fleet, problems):
    before = {role: len(fleet.ready(role)) for role in ROLES}
    node = fleet.ready("response")[0]["spec"]["nodeName"]
    with fleet.watched(*ROLES) as seen:
        fleet.kubectl("drain", node, "--delete-emptydir-data", "--timeout=60s")
        fleet.settle(*ROLES)
    fleet.kubectl("uncordon", node)
    least = {role: bounds[0] for role, bounds in seen.items()}
    print(f"{node} drained: at the least {least} of {before} were ready")
    for role in ROLES:
        if role != "archive" and least[role] < before[role] - 1:
            problems.append(f"{role}: only {least[role]} of {before[role]} were ready")


def rolled(fleet, problems):
    """A release changes every pod of a role, with never fewer ready than before and a quarter more at most; and back."""

    def image():
        return {pod["spec"]["containers"][0]["image"] for pod in fleet.ready("response")}

    before, old = len(fleet.ready("response")), image()
    with fleet.watched("response") as seen:
        fleet.kubectl("-n", "talkfleet", "set", "image", "deployment/response", "talkfleet=talkfleet:0.2.0")
        fleet.kubectl("-n", "talkfleet", "rollout", "status", "deployment/response", "--timeout=60s")
        fleet.settle("response")
        new = image()
        fleet.kubectl("-n", "talkfleet", "rollout", "undo", "deployment/response")
        fleet.kubectl("-n", "talkfleet", "rollout", "status", "deployment/response", "--timeout=60s")
        fleet.settle("response")
    least, most = seen["response"]
    print(f"released and gone back: {least} to {most} of {before} ready all the while")
    if least < before or most > before + math.ceil(before / 4):
        problems.append(f"in a release {least} to {most} of {before} were ready")
    if new != {"talkfleet:0.2.0"} or image() != old:
        problems.append(f"the release was {new}, and gone back to {image()}")


def preferred(fleet, problems):
    """Nodes that are labelled for the fleet are taken first."""
    fleet.scale("intent", 2)
    fleet.settle("intent")
    for node in ["node-0", "node-1", "node-2"]:
        fleet.kubectl("label", "node", node, "talkfleet.pool=serving")
    fleet.kubectl("-n", "talkfleet", "rollout", "restart", "deployment/intent")
    fleet.kubectl("-n", "talkfleet", "rollout", "status", "deployment/intent", "--timeout=60s")
    fleet.settle("intent")
    nodes = sorted(pod["spec"]["nodeName"] for pod in fleet.ready("intent"))
    print(f"intent prefers the pool: {nodes}")
    if not set(nodes) <= {"node-0", "node-1", "node-2"}:
        problems.append(f"intent went to {nodes} beside the pool, which has room")


def preempted(fleet, problems):
    """On full nodes what catches up later makes room for who answers; who degrades turns does not, as long as that is enough."""
    fleet.scale("archive", 6)
    fleet.settle(*ROLES)
    # Fills what is left, makes nobody go, and does not go itself.
    rank = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "filler"}}
    fleet.api.put(rank | {"value": 200_000, "preemptionPolicy": "Never"})
    container = {"name": "filler", "image": "filler", "resources": {"requests": {"cpu": "100m"}}}
    pod = {"metadata": {"labels": {"app": "filler"}}, "spec": {"priorityClassName": "filler", "containers": [container]}}
    spec = {"replicas": FEW_NODES * NODE_CPU * 10, "selector": {"matchLabels": {"app": "filler"}}, "template": pod}
    fleet.api.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "filler"}, "spec": spec})
    fillers = "/api/v1/namespaces/default/pods"
    until("full nodes", lambda: is_full(fleet.api.list(fillers), spec["replicas"]))
    # Those that found no place go first; they would take what is freed.
    placed = sum(map(is_ready, fleet.api.list(fillers)))
    fleet.api.change("/apis/apps/v1/namespaces/default/deployments/filler/scale", {"spec": {"replicas": placed}})
    until("none that waits", lambda: len(fleet.api.list(fillers)) == placed)
    counts = {role: len(fleet.ready(role)) for role in ROLES}
    with fleet.watched("gateway", "response", "intent", "retrieval") as seen:
        fleet.scale("response", counts["response"] + 2)
        until("two more response workers", lambda: len(fleet.ready("response")) == counts["response"] + 2)
    left = len(fleet.ready("archive"))
    print(f"full nodes: 2 response workers came, {counts['archive'] - left} of {counts['archive']} of the archive went")
    for role, bounds in seen.items():
        if bounds[0] < counts[role]:
            problems.append(f"{role} made room as well")
    if left >= counts["archive"]:
        problems.append("nobody made room for response workers")


def is_full(pods, count):
    return len(pods) == count and any(map(is_unplaced, pods)) and all(is_ready(pod) or is_unplaced(pod) for pod in pods)


def is_unplaced(pod):
    return any(condition.get("reason") == "Unschedulable" for condition in pod["status"].get("conditions", []))


def scaled(fleet, problems):
    """The response role by its lag: still while it is as it should be, at most doubled in half a minute, and slow to go again."""
    target = 45

    def wanted():
        return fleet.api.ask("GET", f"/apis/apps/v1{SPACE}/deployments/response")["spec"]["replicas"]

    def over(seconds):
        """How many there were, each time that it changed, with the seconds since the beginning."""
        began, course = time.monotonic(), []
        while time.monotonic() - began < seconds:
            count = wanted()
            if not course or course[-1][1] != count:
                course.append((round(time.monotonic() - began), count))
            time.sleep(LOOK_S)
        return course

    with told(fleet, fleet.config.parent) as figures:

        def lag(messages):
            of = "consumer=response"
            figures.external = {("talkfleet_queue_pending", of): messages, ("desk_response_wait_seconds", of): 0}

        lag(4 * target)
        until("as many as the lag asks for", lambda: wanted() == 4)
        lag(int(4 * target * 1.08))
        still = over(45)
        lag(20 * target)
        surge = over(75)
        lag(2 * target)
        gone = over(270)
    print(f"lag {4 * target}, then 8 % more: {still}; 5 times that: {surge}; a tenth of it: {gone}")
    if still != [(0, 4)]:
        problems.append(f"at a constant lag there were {still}")
    if [count for _, count in surge] not in ([4, 8, 16, 20], [8, 16, 20]) or surge[-1][0] < 30:
        problems.append(f"a surge brought {surge}")
    if [count for _, count in gone][:3] != [20, 15, 11] or not 170 <= gone[1][0] <= 200:
        problems.append(f"after the surge there were {gone}")


def checked(programs, nodes, checks):
    problems = Problems()
    with control_plane(programs) as (api, config), Nodes(api, nodes, ZONES, NODE_CPU, NODE_MEMORY):
        fleet = Fleet(api, config)
        for check in checks:
            check(fleet, problems)
    return problems


def production(fleet, problems):
    started(fleet, "production", ["prepare", "fleet", "hpa", "next"], problems)


def main(programs):
    problems = checked(programs, NODES, [small, minimum])
    problems += checked(programs, NODES, [production, minimum, spread, budget, drained, rolled, preferred])
    problems += checked(programs, NODES, [production, minimum, scaled])
    # Few nodes: what makes room must be enough on one of them.
    problems += checked(programs, FEW_NODES, [production, minimum, preempted])
    print(f"a control plane's verdict: {len(problems)} problems")
    sys.exit(bool(problems))


main(pathlib.Path(sys.argv[1]))
