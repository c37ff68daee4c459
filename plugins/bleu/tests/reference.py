"""Writes reference.json: what sacreBLEU and rouge-score say of fifty pairs of a text and its reference.

pip install sacrebleu==2.6.0 rouge-score==0.1.2
"""

import importlib.metadata
import json
import pathlib

from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

pairs = [
 ("the cat sat on the mat", "the cat is on the mat"),
 ("the cat is on the mat", "the cat is on the mat"),
 ("the the the the the the the", "the cat is on the mat"),
 ("a", "a"), ("a b", "a b"), ("a b c", "a b c"), ("a b", "a b c d e f"),
 ("a b c d e f g h", "a b c"), ("x y z", "a b c"), ("hello", "hello world"),
 ("Hello, world!", "Hello , world !"), ("It costs $3.50, or 1,000 yen.", "It costs $3.50 or 1,000 yen."),
 ("He said \"no\".", "He said &quot;no&quot;."), ("a &amp; b &lt; c", "a & b < c"),
 ("1990-1995 was long", "1990 - 1995 was long"), ("state-of-the-art models", "state-of-the-art model"),
 ("line one\nline two is here", "line one line two is here"), ("hy-\nphen joined words here", "hyphen joined words here"),
 ("The quick brown fox jumps over the lazy dog", "A quick brown fox jumped over the lazy dog"),
 ("the quick brown fox jumps over the lazy dog", "The quick brown fox jumps over the lazy dog"),
 ("Das ist ein Beispiel für Übersetzung .", "Dies ist ein Beispiel für eine Übersetzung ."),
 ("L'été est arrivé, enfin.", "L'été est enfin arrivé."), ("今天 天气 很 好 。", "今天 天气 真 好 。"), ("今天天气很好。", "今天天气真好。"),
 ("emoji 😀 are fun (really)", "emoji 😀 are really fun"), ("3.14 is pi.", "pi is 3.14."), ("v1.2.3 came out; 5-6 bugs", "v1.2.3 came out: 5-6 bugs"),
 ("  leading and   inner  spaces ", "leading and inner spaces"), ("no-break\u00a0space here too", "no-break space here too"),
 ("<skipped> this was skipped", "this was skipped"), ("a_b c@d e#f", "a _ b c @ d e # f"), ("tab\there and there", "tab here and there"),
 ("it is a guide to action which ensures that the military always obeys the commands of the party", "it is a guide to action that ensures that the military will forever heed party commands"),
 ("it is to insure the troops forever hearing the activity guidebook that party direct", "it is a guide to action that ensures that the military will forever heed party commands"),
 ("one two three four five six seven eight nine ten", "one two three four six five seven eight nine ten eleven"),
 ("...", "..."), ("!?", "?!"), ("don't stop can't won't", "do n't stop ca n't wo n't"), ("a a a a b b", "a a b b b"),
 ("word", "other"), ("the answer is 42", "the answer is 42 ."), ("x.", "x ."), (".5 and 5. and 5.5", ".5 and 5 . and 5.5"),
 ("", "not empty"), ("   ", "not empty"), ("something", ""), ("\u0663,\u0664 items", "\u0663,\u0664 item"),
 ("The &#124; pipe", "The &#124; pipes"), ("a\r\nb c d e", "a b c d e"), ("em\u2014dash and\u2009thin", "em\u2014dash and thin"), ("a-b 1-b b-1 1-", "a-b 1 -b b-1 1 -"),
]


def sentences(**settings):
    """Scores in 0 to 1 of all pairs."""
    bleu = BLEU(**settings)
    return [bleu.sentence_score(sample, [reference]).score / 100 for sample, reference in pairs]


out = {
    "sacrebleu": importlib.metadata.version("sacrebleu"),
    "rouge_score": importlib.metadata.version("rouge-score"),
    "pairs": [{"sample": sample, "reference": reference} for sample, reference in pairs],
    "tokens": [Tokenizer13a()(sample.rstrip()).split() for sample, _ in pairs],
    "scores": [
        {
            "smoothing": method,
            "value": value,
            "effective_order": effective,
            "bleu": sentences(smooth_method=method, smooth_value=value, effective_order=effective),
        }
        for method, value in [("exp", None), ("floor", 0.1), ("add-k", 1), ("add-k", 0.5), ("none", None)]
        for effective in (True, False)
    ],
    "order_2": sentences(effective_order=True, max_ngram_order=2),
    "corpus_bleu": BLEU().corpus_score([sample for sample, _ in pairs], [[it for _, it in pairs]]).score / 100,
}
rouge = rouge_scorer.RougeScorer(["rougeL"])
out["rouge_l"] = [rouge.score(reference, sample)["rougeL"].fmeasure for sample, reference in pairs]


def lines(values):
    """A list with a line per value."""
    return "[\n" + ",\n".join("  " + json.dumps(value) for value in values) + "\n ]"


fields = [f" {json.dumps(key)}: {lines(value) if isinstance(value, list) else json.dumps(value)}" for key, value in out.items()]
pathlib.Path(__file__).with_name("reference.json").write_text("{\n" + ",\n".join(fields) + "\n}\n")
