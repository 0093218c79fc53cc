"""Holds deploy/compose.yaml against the compose specification, the files of this repository, and the programs that it names."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import compose_spec
import yaml

DEPLOY = pathlib.Path("deploy")
# What the image has at these paths: deploy/image/root.sh.
IN_IMAGE = {"/etc/talkfleet/": "deploy/k8s/base/fleet/"}
problems = []


def told(name, command, environment=None):
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        problems.append(f"{name}: {' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()}")
    else:
        print(f"{name}: {(done.stdout or done.stderr).strip().splitlines()[0]}")


def here(path, secrets):
    """Where a path of the compose file lies: secrets in the folder that was just made."""
    return secrets / path.name if "compose/secrets" in str(path) else path


def ours(name, service, files, binaries):
    """One of our programs, with the configuration and environment that its container has."""
    program, *arguments = service["command"]
    for inside, outside in IN_IMAGE.items():
        arguments = [argument.replace(inside, outside) for argument in arguments]
    environment = {"PATH": os.environ["PATH"]}
    for key, value in service["environment"].items():
        value = value or ""
        if value.startswith("${"):
            value = value.split(":-")[1].rstrip("}")
        if value.startswith("/run/secrets/"):
            secret = value.removeprefix("/run/secrets/")
            if secret not in service.get("secrets", []):
                problems.append(f"{name}: {key} names the secret {secret}, which it is not given")
            value = str(files[secret])
        environment[key] = value
    # `talkfleet` knows no --check: what it would do is looked up by its help.
    last = "--help" if program == "talkfleet" else "--check"
    told(name, [binaries / program, *arguments, last], environment)


def valkey(name, command, users, url):
    """Started with its arguments and users, and asked as one of them."""
    user, password = url.read_text().split("//")[1].split("@")[0].split(":")
    server, *arguments = [users if argument.endswith(".acl") else argument for argument in command]
    with tempfile.TemporaryDirectory() as folder:
        apart = ["--dir", folder, "--port", "0", "--unixsocket", f"{folder}/socket"]
        process = subprocess.Popen([server, *arguments, *apart], stdout=subprocess.PIPE, text=True)
        try:
            for _ in range(50):
                if pathlib.Path(folder, "socket").exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{folder}/socket")
                client.sendall(f"AUTH {user} {password}\r\nPING\r\nFLUSHALL\r\n".encode())
                said = b""
                while said.count(b"\r\n") < 3:
                    said += client.recv(1000)
            if not said.startswith(b"+OK\r\n+PONG\r\n-NOPERM"):
                problems.append(f"{name}: {user} heard {said.decode()}")
            print(f"{name}: {user} is let in, and may not flush")
        except OSError:
            process.kill()
            problems.append(f"{name}: does not start: {process.communicate()[0]}")
        finally:
            process.kill()
            process.wait()


def main(binaries, secrets):
    binaries, secrets = pathlib.Path(binaries), pathlib.Path(secrets)
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    compose_spec.PyCompose.from_json(json.dumps(whole)).validate()
    services = whole["services"]
    files = {name: here(DEPLOY / secret["file"], secrets) for name, secret in whole["secrets"].items()}
    problems.extend(f"secret {name}: deploy/secrets.sh makes no {path.name}" for name, path in files.items() if not path.is_file())
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            if other not in services:
                problems.append(f"{name} depends on {other}, which there is not")
        for file in service.get("env_file", []):
            if not here(DEPLOY / file, secrets).is_file():
                problems.append(f"{name}: deploy/secrets.sh makes no {file}")
        mounted = {}
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                mounted[target] = here(DEPLOY / source, secrets)
                if not mounted[target].exists():
                    problems.append(f"{name} mounts {source}, which there is not")
            elif source not in whole["volumes"]:
                problems.append(f"{name} keeps its data in {source}, which is no volume")
        if service["image"].startswith("talkfleet:"):
            ours(name, service, files, binaries)
        elif name == "nats":
            with tempfile.TemporaryDirectory() as folder:
                for target, source in mounted.items():
                    copy = pathlib.Path(folder, target.removeprefix("/etc/nats/"))
                    copy.parent.mkdir(exist_ok=True)
                    shutil.copy(source, copy)
                config = pathlib.Path(folder, "nats.conf")
                config.write_text(config.read_text().replace("store_dir: /data", f"store_dir: {folder}/data"))
                told(name, ["nats-server", "-t", "-c", config])
        elif name == "valkey":
            valkey(name, service["command"], str(mounted["/etc/valkey/users.acl"]), files["redis-gateway"])
        elif name == "prometheus" and shutil.which("promtool"):
            told(name, ["promtool", "check", "config", "--syntax-only", mounted["/etc/prometheus/prometheus.yml"]])
        elif name == "alertmanager" and shutil.which("amtool"):
            told(name, ["amtool", "check-config", mounted["/etc/alertmanager/alertmanager.yml"]])
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"compose.yaml: {len(services)} services, {len(problems)} problems")
    sys.exit(bool(problems))


main(*sys.argv[1:])
