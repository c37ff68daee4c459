"""Shows that TensorBoard reads a run's event file as the trace tells the run: every step and measurement once, with its numbers.

Usage: python check_events.py RUN_FOLDER      (see README.md; ends with 1 if anything is off)
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def float32(value):
    """What is left of a number in a `simple_value`."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def told(run):
    """By tag, the steps and numbers that the trace tells."""
    expected = {}
    for line in (run / "trace.jsonl").read_text().splitlines():
        record = json.loads(line)["record"]
        if record["event"] == "step":
            numbers = {"loss": record["loss"], "gradient-norm": record["grad-norm"], "learning-rate": record["learning-rate"]}
            numbers = {f"train/{name}": value for name, value in numbers.items()}
        elif record["event"] == "measure":
            numbers = {f"eval/{record['set']}/{name}": value for name, value in record["metrics"].items()}
        else:
            continue
        for name, value in numbers.items():
            expected.setdefault(name, []).append((record["step"], float32(value)))
    return expected


def main():
    run = Path(sys.argv[1])
    # 0: every event is kept.
    reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    expected, faults = told(run), 0

    def read(name):
        return reader.Scalars(name) if name in reader.Tags()["scalars"] else []

    for name, points in sorted(expected.items()):
        found = [(event.step, event.value) for event in read(name)]
        fine = found == points
        faults += not fine
        print(f"{name}: {len(found)} of {len(points)} events, {'fine' if fine else 'OFF'}")
    speeds = [event.step for event in read("train/tokens-per-second")]
    fine = speeds == [step for step, _ in expected.get("train/loss", [])]
    faults += not fine
    print(f"train/tokens-per-second: {len(speeds)} events, {'fine' if fine else 'OFF'}")
    others = [tag for tag in reader.Tags()["scalars"] if tag not in expected and not tag.startswith(("plugin/", "train/tokens"))]
    faults += len(others)
    print(f"tags that the trace does not have: {others or 'none'}; file version {reader.file_version}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
