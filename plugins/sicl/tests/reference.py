"""Makes reference.json: class probabilities, combinations and metrics by numpy, scipy and scikit-learn.

In a throw-away environment: pip install numpy scipy scikit-learn; python plugins/sicl/tests/reference.py
"""

import json
from pathlib import Path

import numpy
import scipy
import scipy.special
import scipy.stats
import sklearn
import sklearn.calibration
import sklearn.metrics

ROWS, VARIANTS, CLASSES = 40, 4, 3


def majority(p):
    """Of [variants, classes]: the mean over the variants of the weightiest group that agrees."""
    said = p.argmax(axis=1)
    weights = [p[said == label, label].sum() for label in range(p.shape[1])]
    return p[said == numpy.argmax(weights)].mean(axis=0)


def ece(p, golds, bins):
    """From scikit-learn's reliability curve of the most likely class, whose bins are (low, high]."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == golds
    true, mean = sklearn.calibration.calibration_curve(right, confidence, n_bins=bins, strategy="uniform")
    edges = numpy.linspace(0.0, 1.0, bins + 1)
    counts = numpy.bincount(numpy.searchsorted(edges[1:-1], confidence), minlength=bins)
    return float((counts[counts > 0] / len(p) * numpy.abs(true - mean)).sum())


def metrics(p, golds):
    said = p.argmax(axis=1)
    return {
        "accuracy": sklearn.metrics.accuracy_score(golds, said),
        "macro-f1": sklearn.metrics.f1_score(golds, said, average="macro"),
        "ece": ece(p, golds, 10),
        "ece-3-bins": ece(p, golds, 3),
        "nll": sklearn.metrics.log_loss(golds, p, labels=list(range(CLASSES))),
        "entropy": float(scipy.stats.entropy(p, axis=1).mean()),
        "confidence": float(p.max(axis=1).mean()),
    }


def main():
    random = numpy.random.default_rng(17)
    scores = random.normal(scale=2.0, size=(ROWS, VARIANTS, CLASSES)) - 3.0
    golds = random.integers(CLASSES, size=ROWS)
    p = scipy.special.softmax(scores, axis=2)
    top = p.max(axis=1)
    combined = {
        "mean": p.mean(axis=1),
        "max": top / top.sum(axis=1, keepdims=True),
        "majority": numpy.stack([majority(row) for row in p]),
    }
    centred = scores[:, 0] - scores[:, 0].mean(axis=1, keepdims=True)
    calibrated = (centred - centred.mean(axis=0)) / numpy.sqrt(centred.var(axis=0))
    result = {
        "source": f"numpy {numpy.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}",
        "scores": scores.tolist(),
        "golds": golds.tolist(),
        "probabilities": p.tolist(),
        "combined": {name: rows.tolist() for name, rows in combined.items()},
        "calibrated": calibrated.tolist(),
        "metrics": {name: metrics(rows, golds) for name, rows in combined.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result) + "\n")


main()
