"""Runs tests/benches/throughput.rs and the same work in PyTorch and transformers (eager), and prints both with their ratio.

    python3 tests/python/throughput.py [--device cuda] [--model FOLDER] [--bench PROGRAM] [--rounds N]

Where this Python has no torch, an environment of its own gets it, once: `torch` in TUNESMITH_CACHE (default: ~/.cache/tunesmith).
`--bench` names the built benchmark, so that no build runs beside the measurement; without it `cargo bench` is called. Rounds of
one side and of the other take turns, so that both see the same machine; the fastest run of each counts.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import venv


def with_torch():
    """Goes on in an environment that has torch and transformers, and makes it if it is not there."""
    needed = ["torch", "transformers"]
    if all(importlib.util.find_spec(name) for name in needed):
        return
    folder = pathlib.Path(os.environ.get("TUNESMITH_CACHE") or pathlib.Path.home() / ".cache/tunesmith") / "torch"
    python = folder / "bin/python"
    if pathlib.Path(sys.prefix) == folder.resolve():
        raise SystemExit(f"{folder} lacks one of {needed}\nhint: delete it, and it is made anew")
    if not python.exists():
        print(f"making {folder} with {' and '.join(needed)}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *needed], check=True)
    os.execv(python, [python, *sys.argv])


with_torch()
import torch  # noqa: E402
import transformers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNS = 5
CASES = ["full", "lora", "generate"]


def tokens(row, count, vocabulary):
    """The ids of the Rust side."""
    return [100 + (row * 7919 + at * 104_729 + at * at * 31) % (vocabulary - 100) for at in range(count)]


def rows(count, length, model):
    ids = [tokens(row, length, model.config.vocab_size) for row in range(count)]
    return torch.tensor(ids, device=model.device)


def timed(run):
    run()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def train(model, parameters):
    """4 rows of 128 tokens: forward, backward, clipping, AdamW."""
    batch = rows(4, 128, model)
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0)

    def step():
        model(input_ids=batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        wait()

    model.train()
    return batch.numel() / timed(step)


def adapted(model):
    """LoRA of rank 8 on every linear layer, as `LoraSettings::new(8, 16.0)`; written out, so that peft is not needed."""

    class Lora(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            make = lambda *shape: torch.nn.Parameter(torch.zeros(*shape, device=base.weight.device, dtype=base.weight.dtype))
            self.a, self.b = make(8, base.in_features), make(base.out_features, 8)
            torch.nn.init.kaiming_uniform_(self.a, a=5**0.5)

        def forward(self, x):
            return self.base(x) + (x @ self.a.T) @ self.b.T * 2.0

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in model.model.layers:
        for parent, names in [(layer.self_attn, ["q_proj", "k_proj", "v_proj", "o_proj"]), (layer.mlp, ["gate_proj", "up_proj", "down_proj"])]:
            for name in names:
                setattr(parent, name, Lora(getattr(parent, name)))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def generate(model):
    """Greedy answers of 64 tokens to 8 prompts of 64."""
    model.eval()
    batch = rows(8, 64, model)
    mask = torch.ones_like(batch)

    def run():
        made = model.generate(
            input_ids=batch, attention_mask=mask, max_new_tokens=64, min_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert made.shape == (8, 128)
        wait()

    return 8 * 64 / timed(run)


def of_torch(case, arguments):
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(arguments.model, dtype=torch.float32, attn_implementation="eager").to(arguments.device)
    if case == "generate":
        return generate(model)
    return train(model, adapted(model) if case == "lora" else list(model.parameters()))


def of_tunesmith(case, arguments):
    program = [arguments.bench] if arguments.bench else "cargo bench -q --profile dev -p tunesmith-tests --bench throughput --".split()
    command = [*program, case, "--device", arguments.device, "--model", arguments.model]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])["tokens-per-second"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default=str(ROOT / "models/smollm2-135m-instruct"))
    parser.add_argument("--bench")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads, {arguments.device}, float32")
    print(f"{'case':<10}{'PyTorch':>12}{'Tunesmith':>12}{'ratio':>8}   tokens per second")
    for case in CASES:
        pairs = [(of_torch(case, arguments), of_tunesmith(case, arguments)) for _ in range(arguments.rounds)]
        theirs, ours = (max(side) for side in zip(*pairs))
        print(f"{case:<10}{theirs:>12.1f}{ours:>12.1f}{ours / theirs:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
