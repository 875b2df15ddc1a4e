# SPDX-License-Identifier: MIT
"""Writes bootstrap.json: exact bootstrap distributions of small samples (every resample enumerated) and
numpy's own bootstrap of larger ones. Run: python make_bootstrap.py"""
import itertools
import json
import pathlib

import numpy as np

SMALL = [
    ([0.9, 0.4, 0.7, 0.2, 0.8], [0.5, 0.5, 0.1, 0.3, 0.2]),
    ([1.0, 0.0, 0.25], [0.0, 0.5, 0.25]),
    ([0.31, 0.12, 0.55, 0.48, 0.02, 0.77], [0.30, 0.22, 0.41, 0.48, 0.10, 0.35]),
]


def exact(a, b):
    d = np.array(a) - np.array(b)
    means = np.array([d[list(pick)].mean() for pick in itertools.product(range(len(d)), repeat=len(d))])
    return {
        "a": a, "b": b, "difference": d.mean(), "standard_error": means.std(),
        "low_range": list(np.quantile(means, [0.022, 0.028], method="inverted_cdf")),
        "high_range": list(np.quantile(means, [0.972, 0.978], method="inverted_cdf")),
    }


def simulated(n, seed, shape):
    rng = np.random.default_rng(seed)
    b = rng.beta(2, 5, n)
    a = np.clip(b + (rng.normal(0.03, 0.1, n) if shape == "normal" else rng.exponential(0.05, n)), 0, 1)
    d = a - b
    means = np.concatenate([d[rng.integers(0, n, (1000, n))].mean(1) for _ in range(40)])
    return {
        "a": [round(float(x), 6) for x in a], "b": [round(float(x), 6) for x in b],
        "difference": d.mean(), "standard_error": means.std(ddof=1),
        "low": np.quantile(means, 0.025), "high": np.quantile(means, 0.975),
    }


golden = {
    "exact": [exact(a, b) for a, b in SMALL],
    "simulated": [simulated(200, 1, "normal"), simulated(60, 2, "exponential")],
}
path = pathlib.Path(__file__).with_name("bootstrap.json")
path.write_text(json.dumps(golden, indent=1, default=float) + "\n")
