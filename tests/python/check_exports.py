"""Shows that what Tunesmith exports is what PEFT and transformers load, and the other way round, by equal logits.

Trains a LoRA adapter and a full model for a few steps on a tiny Llama with the `tunesmith` program, then
1. loads the adapter in PEFT, and has `tunesmith model compare` compare its own logits with PEFT's;
2. merges it with `tunesmith model merge` (float32 whole and in shards, bfloat16, float16), loads each result in transformers, and compares with
   PEFT's logits, with PEFT's own merge weight by weight, and with Tunesmith's logits of the same folder;
3. loads the fully trained model in transformers and compares likewise;
4. has PEFT save an adapter, and has Tunesmith compare its logits on top and merged.

Usage: python check_exports.py TUNESMITH_PROGRAM [MODEL_FOLDER]      (see README.md; ends with 1 if anything is off)
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch
import transformers

# Float32 sums in another order: |a - b| / (|b| + 0.1), as `tunesmith model compare` measures.
TOLERANCE = 1e-4
# For weights, relative to |b| or 1e-3: float32 sums in another order; one unit in the last place where those were rounded.
WEIGHTS = {torch.float32: 1e-5, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = [[5, 17, 3, 90, 41, 8, 22, 64, 11, 30, 77, 2], [9, 9, 50, 33, 71, 4, 18, 92, 60, 13, 27, 85]]
RECIPE = """seed = 3
output = "{output}"
[model]
path = "base"
{adapter}
[data]
train = "train.jsonl"
[train]
steps = {steps}
batch = 2
learning-rate = {rate}
"""


class Check:
    """A folder to work in, the program, and what was found so far."""

    def __init__(self, program: str, model: Path, folder: Path):
        self.program, self.folder = str(Path(program).resolve()), folder
        self.faults = 0
        shutil.copytree(model, folder / "base")
        if not (folder / "base/tokenizer.json").exists():
            self.add_tokenizer(folder / "base")
        rows = [{"prompt": f"{n} + {n}", "completion": str(2 * n)} for n in range(16)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def add_tokenizer(self, base: Path) -> None:
        """One token per character, for models that have no tokenizer."""
        size = json.loads((base / "config.json").read_text())["vocab_size"]
        special = ["<unk>", "<s>", "</s>"]
        vocab = {(special[n] if n < 3 else chr(29 + n)): n for n in range(size)}
        added = [
            {"id": n, "content": text, "special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
            for n, text in enumerate(special)
        ]
        model = {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>", "dropout": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False}
        tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": None,
                     "post_processor": None, "decoder": {"type": "Fuse"}, "model": model}
        (base / "tokenizer.json").write_text(json.dumps(tokenizer))
        template = "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "chat_template": template}
        (base / "tokenizer_config.json").write_text(json.dumps(settings))

    def run(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode not in codes:
            sys.exit(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr}")
        return done.stdout

    def train(self, name: str, adapter: str, steps: int, rate: float) -> None:
        recipe = RECIPE.format(output=name, adapter=adapter, steps=steps, rate=rate)
        (self.folder / f"{name}.toml").write_text(recipe)
        self.run("train", f"{name}.toml")

    def report(self, what: str, error: float, tolerance: float) -> None:
        is_fine = error <= tolerance
        self.faults += not is_fine
        print(f"{'fine' if is_fine else 'OFF '}  {error:8.1e} <= {tolerance:.0e}  {what}")

    def ours(self, what: str, model: str, logits: torch.Tensor, *adapter: object) -> None:
        """Compares the logits that Tunesmith computes with these, row by row."""
        for row in range(len(IDS)):
            expected = {"input_ids": [IDS[row]], "logits_row0": logits[row].float().tolist()}
            (self.folder / "expected.json").write_text(json.dumps(expected))
            found = json.loads(self.run("model", "compare", model, "expected.json", "--json", *adapter, codes=(0, 1)))
            self.report(f"{what}, row {row}", found[0]["error"], TOLERANCE)


def load(folder: Path) -> torch.nn.Module:
    """A model with the weights of a folder in float32, and a fault if transformers had to invent or drop one."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    odd = {key: value for key, value in info.items() if value and key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    assert not odd, f"{folder}: {odd}"
    return model.eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(torch.tensor(IDS)).logits


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.double(), expected.double()
    return ((found - expected).abs() / (expected.abs() + 0.1)).max().item()


def weight_distance(ours: torch.nn.Module, theirs: torch.nn.Module, kind: torch.dtype) -> float:
    """The largest difference of two models' weights, relative to the size of the weight, with theirs rounded to the type of ours."""
    theirs = theirs.state_dict()
    worst = 0.0
    for name, weight in ours.state_dict().items():
        expected = theirs[name].to(kind).double()
        floor = expected.abs().clamp(min=1e-3)
        worst = max(worst, ((weight.double() - expected).abs() / floor).max().item())
    return worst


def check_adapter(check: Check) -> None:
    check.train("lora", "adapter = { lora = { rank = 4, alpha = 8 } }", 30, 5e-3)
    base = check.folder / "base"
    adapter = check.folder / "lora/adapter"
    plain = logits(load(base))
    adapted = peft.PeftModel.from_pretrained(load(base), adapter).eval()
    expected = logits(adapted)
    change = distance(expected, plain)
    print(f"the adapter changes the base's logits by up to {change:.1e}")
    assert change > 0.05, "the adapter does nothing, so equal logits would say nothing"
    check.ours("adapter loaded by PEFT, against Tunesmith's logits with it", "base", expected, "--adapter", "lora/adapter")
    automatic = peft.AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32, attn_implementation="eager").eval()
    check.report("adapter loaded by PEFT together with the base that it names", distance(logits(automatic), expected), TOLERANCE)

    theirs = peft.PeftModel.from_pretrained(load(base), adapter).merge_and_unload()
    kinds = [("whole", (), torch.float32), ("split", ("--shard-size", "30kB"), torch.float32),
             ("bf16", ("--type", "bf16"), torch.bfloat16), ("f16", ("--type", "f16"), torch.float16)]
    for name, options, kind in kinds:
        check.run("model", "merge", "base", "lora/adapter", name, *options)
        if name == "split":
            assert (check.folder / name / "model.safetensors.index.json").exists(), "the export was to be split"
        stored = transformers.AutoConfig.from_pretrained(check.folder / name).dtype
        assert stored == kind, f"config.json of {name} says {stored}"
        merged = load(check.folder / name)
        check.report(f"merged ({name}): weights against PEFT's own merge", weight_distance(merged, theirs, kind), WEIGHTS[kind])
        if kind == torch.float32:
            check.report(f"merged ({name}): transformers' logits against PEFT's", distance(logits(merged), expected), TOLERANCE)
        check.ours(f"merged ({name}): transformers' logits against Tunesmith's", name, logits(merged))
        transformers.AutoTokenizer.from_pretrained(check.folder / name)


def check_full(check: Check) -> None:
    check.train("full", "", 10, 1e-3)
    trained = load(check.folder / "full/model")
    change = distance(logits(trained), logits(load(check.folder / "base")))
    print(f"full training changes the base's logits by up to {change:.1e}")
    assert change > 0.05, "nothing was trained"
    check.ours("fully trained model: transformers' logits against Tunesmith's", "full/model", logits(trained))
    transformers.AutoTokenizer.from_pretrained(check.folder / "full/model")


def check_foreign(check: Check) -> None:
    settings = peft.LoraConfig(r=3, lora_alpha=5, target_modules=TARGETS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(load(check.folder / "base"), settings).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(check.folder / "foreign")
    check.ours("adapter saved by PEFT, against Tunesmith's logits with it", "base", logits(model), "--adapter", "foreign")
    check.run("model", "merge", "base", "foreign", "foreign-merged")
    check.ours("adapter saved by PEFT and merged by Tunesmith", "foreign-merged", logits(model))


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    default = Path(__file__).parent.parent / "fixtures/tiny-llama"
    model = Path(sys.argv[2]) if len(sys.argv) == 3 else default
    transformers.logging.set_verbosity_error()
    print("torch", torch.__version__, "transformers", transformers.__version__, "peft", peft.__version__)
    with tempfile.TemporaryDirectory() as folder:
        check = Check(sys.argv[1], model, Path(folder))
        check_adapter(check)
        check_full(check)
        check_foreign(check)
    print("all fine" if check.faults == 0 else f"{check.faults} off")
    sys.exit(check.faults != 0)


main()
