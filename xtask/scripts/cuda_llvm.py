"""Makes the LLVM that the `cuda` feature is built with, on a machine that cannot download it: `cuda_llvm.py LLVM LIBSTDCXX ZSTD`.

The three arguments are Debian packages (or packages of its descendants) for this architecture: `llvm-23-dev`; the `libstdc++-N-dev`
of the compiler that it was built with (Debian sid, October 2026: N = 16); and a `libzstd-dev`. `zlib1g-dev`, a C compiler and
`dpkg-deb` must be installed. Nothing is downloaded, and nothing is written outside the folder where the build of CubeCL looks for
its LLVM: `tracel/tracel-llvm-23.1.0-4` in XDG_DATA_HOME (default: ~/.local/share). About 280 MB; delete the folder to undo it.

CubeCL 0.11 links LLVM statically and asks `bin/llvm-config` for flags and libraries, so the folder holds the package's headers with
their lists of targets cut to X86 and NVPTX, the archives that these two need, and the static C++ library that fits them.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

RELEASE = "23.1.0-4"
# What CubeCL calls directly; everything else follows from LLVM's own list of dependencies.
ROOTS = "NVPTXCodeGen X86CodeGen X86AsmParser X86Disassembler OrcJIT OrcDebugging MCJIT Passes Linker IRReader BitWriter".split()
TARGETS = {"NVPTX", "X86"}
# Newer packages are compiled against a glibc whose strto* of C23 has names of its own; they differ from the old ones in binary
# literals only, which neither LLVM nor the C++ library passes. Weak, so that a glibc that has them wins.
SHIMS = """
#include <stdlib.h>
#define SHIM(type, name) \\
    __attribute__((weak)) type __isoc23_##name(const char *s, char **e, int b) { return name(s, e, b); }
SHIM(long, strtol) SHIM(unsigned long, strtoul) SHIM(long long, strtoll) SHIM(unsigned long long, strtoull)
"""
CONFIG = """#!/bin/sh
# Stands in for llvm-config; made by xtask/scripts/cuda_llvm.py.
root=$(cd "$(dirname "$0")/.." && pwd)
for word; do
    case $word in
    --link-static) ;;
    --libdir) echo "$root/lib" ;;
    --includedir) echo "$root/include" ;;
    --cflags) echo "-I$root/include" ;;
    --cxxflags) echo "-I$root/include -std=c++17 -fno-exceptions -fno-rtti -D__STDC_CONSTANT_MACROS -D__STDC_FORMAT_MACROS -D__STDC_LIMIT_MACROS" ;;
    --libs) echo "@LIBS@" ;;
    --libnames) echo "@NAMES@" ;;
    --system-libs) echo "-lz -lzstd -lm -ldl -lrt" ;;
    --version) echo "@VERSION@" ;;
    *) echo "llvm-config stand-in: unknown option $word" >&2; exit 1 ;;
    esac
done
"""


def unpack(package, folder):
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)


def one(folder, pattern):
    found = sorted(pathlib.Path(folder).rglob(pattern))
    if not found:
        sys.exit(f"error: there is no `{pattern}` in the package\nhint: see the head of {sys.argv[0]} for the packages it needs")
    return found[0]


def needed(exports):
    """The archives that the roots need, each before what it depends on."""
    depends = {}
    for name, body in re.findall(r"add_library\(LLVM(\w+) STATIC IMPORTED\)(.*?)(?=# Create|\Z)", exports, re.S):
        listed = re.search(r'INTERFACE_LINK_LIBRARIES "(.*?)"', body)
        depends[name] = re.findall(r"LLVM(\w+)", listed[1]) if listed else []
    order, seen = [], set()

    def visit(name):
        if name not in seen:
            seen.add(name)
            for other in depends[name]:
                visit(other)
            order.append(f"LLVM{name}")

    for root in ROOTS:
        visit(root)
    return order[::-1]


def headers(package, include):
    for name in ["llvm", "llvm-c"]:
        shutil.copytree(package / "include" / name, include / name)
    config = include / "llvm" / "Config"
    for path in config.glob("*.def"):
        lines = path.read_text().splitlines(keepends=True)
        keep = [line for line in lines if not (m := re.match(r"LLVM_\w+\((\w+)\)", line)) or m[1] in TARGETS]
        path.write_text("".join(keep))
    path = config / "Targets.h"
    text = re.sub(r"(#define LLVM_HAS_(\w+)_TARGET) 1", lambda m: m[0] if m[2] in TARGETS else f"{m[1]} 0", path.read_text())
    path.write_text(text)


def make(work, root, packages):
    for name, package in zip(["llvm", "cxx", "zstd"], packages):
        unpack(package, work / name)
    package = work / "llvm" / "usr" / "lib" / "llvm-23"
    if not package.is_dir():
        sys.exit(f"error: `{packages[0]}` is not a package `llvm-23-dev`")
    libs = needed(one(package, "LLVMExports.cmake").read_text())
    version = re.search(r'LLVM_VERSION_STRING "([^"]+)"', one(work / "llvm", "llvm-config.h").read_text())[1]
    headers(package, root / "include")
    lib = root / "lib"
    lib.mkdir()
    for name in libs:
        shutil.copy(package / "lib" / f"lib{name}.a", lib)
    # Found before the system's, and the only ones in this folder: so the linker takes the static libraries.
    shutil.copy(one(work / "cxx", "libstdc++.a"), lib)
    shutil.copy(one(work / "zstd", "libzstd.a"), lib)
    compiler = os.environ.get("CC", "cc")
    zlib = subprocess.run([compiler, "-print-file-name=libz.a"], check=True, capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(zlib):
        sys.exit("error: there is no static zlib\nhint: apt-get install zlib1g-dev")
    shutil.copy(zlib, lib)
    source = work / "isoc23.c"
    source.write_text(SHIMS)
    subprocess.run([compiler, "-O2", "-fPIC", "-c", source, "-o", work / "isoc23.o"], check=True)
    subprocess.run(["ar", "rcs", lib / "libisoc23.a", work / "isoc23.o"], check=True)
    libs.append("isoc23")
    config = root / "bin" / "llvm-config"
    config.parent.mkdir()
    text = CONFIG.replace("@LIBS@", " ".join(f"-l{name}" for name in libs))
    text = text.replace("@NAMES@", " ".join(f"lib{name}.a" for name in libs)).replace("@VERSION@", version)
    config.write_text(text)
    config.chmod(0o755)
    # CubeCL takes a folder with this file as complete.
    (root / ".tracel-llvm-installed").touch()
    print(f"LLVM {version} with {len(libs)} archives")


def main():
    packages = sys.argv[1:]
    if len(packages) != 3:
        sys.exit(__doc__)
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local" / "share")
    wanted = data / "tracel" / f"tracel-llvm-{RELEASE}"
    if wanted.exists():
        sys.exit(f"error: `{wanted}` is there already\nhint: delete it to make it anew")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent) as folder:
        root = pathlib.Path(folder) / "made"
        root.mkdir()
        make(pathlib.Path(folder), root, packages)
        root.rename(wanted)
    print(wanted)


if __name__ == "__main__":
    main()
