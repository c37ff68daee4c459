"""Rewards 10,000 rollouts as `answer-match` does, with Python's multiprocessing, and runs the benchmark of the plugin beside it.

    python3 tests/python/rewards.py [--plugin-benchmark PATH]

Nothing is installed. The rollouts and the decision are those of `tests/embed/benches/rewards.rs`: the number behind the last `####`, exactly, with signs,
currencies, thousands and decimals. (The plugin reads more forms than this: fractions, exponents, percent signs.)
"""

import argparse
import os
import re
import subprocess
import time
from fractions import Fraction
from multiprocessing import Pool

ROLLOUTS, PART, RUNS = 10_000, 256, 10
NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,]*(?:\.\d+)?")


def answer(at):
    bought, eaten = 17 * at % 1000, at % 13
    last = 7 if at % 3 == 0 else bought + 1200 - eaten
    return (
        f"Ann has {bought} eggs at first. She buys 1,200 more, which makes {bought} + 1,200 = {bought + 1200}. "
        f"She eats {eaten} of them in $2.50 omelettes, so {bought + 1200 - eaten} are left.\n#### {last}"
    )


def gold(at):
    return str(17 * at % 1000 + 1200 - at % 13)


def number(text):
    found = NUMBER.findall(text)
    return Fraction(re.sub(r"[$€£,]", "", found[-1])) if found else None


def score(pair):
    text, gold = pair
    _, marker, rest = text.rpartition("####")
    own = number(rest if marker else text)
    return float(own is not None and own == number(gold))


def scores(part):
    return [score(pair) for pair in part]


def fastest(run):
    def once():
        start = time.perf_counter()
        total = run()
        assert total == sum(at % 3 != 0 or gold(at) == "7" for at in range(ROLLOUTS)), total
        return time.perf_counter() - start

    return min(once() for _ in range(RUNS))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugin-benchmark", help="the built benchmark `rewards`; without it cargo builds and runs it")
    arguments = parser.parse_args()
    pairs = [(answer(at), gold(at)) for at in range(ROLLOUTS)]
    parts = [pairs[start : start + PART] for start in range(0, ROLLOUTS, PART)]
    with Pool(os.cpu_count()) as pool:
        lines = {
            "Python, one core": fastest(lambda: sum(sum(scores(part)) for part in parts)),
            f"Python, pool of {os.cpu_count()}": fastest(lambda: sum(sum(part) for part in pool.imap(scores, parts))),
        }
    for name, seconds in lines.items():
        print(f"{name}: {seconds * 1e3:.1f} ms, {ROLLOUTS / seconds:,.0f} rollouts/s", flush=True)
    if arguments.plugin_benchmark:
        command = [arguments.plugin_benchmark, "--bench"]
    else:
        command = ["cargo", "bench", "--profile", "dev", "-p", "tunesmith-embed", "--bench", "rewards"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
