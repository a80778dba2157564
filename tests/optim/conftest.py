"""An independent FAM in NumPy, one parameter at a time, from the definitions in docs/optim.md."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

LAYOUTS = {"default": "linear", "conv": "log", "attention": "halves", "embedding": "linear", "simple": "linear"}
WATCHED = {"default": 0.5, "conv": 0.25, "attention": 0.5, "embedding": 0.75, "simple": 0.5}


def edges(bins, asked, layout):
    n = min(asked, bins)
    if layout == "linear" or n == 1:
        return [math.floor(j * bins / n) for j in range(n + 1)]
    if layout == "log":
        found = [0]
        for j in range(1, n + 1):
            found.append(max(found[-1] + 1, min(bins - (n - j), round(bins ** (j / n)))))
        return found
    half, low = bins // 2, n // 2
    lower = [math.floor(j * half / low) for j in range(low)]
    return lower + [half + math.floor(j * (bins - half) / (n - low)) for j in range(n - low + 1)]


def sample(g):
    g = np.asarray(g, dtype=np.float64)
    if g.ndim < 2 or g.size == g.shape[0]:
        return g.reshape(1, -1)[:, :1024]
    rows = min(64, g.shape[0])
    every = max(1, g.shape[0] // 64)
    return g.reshape(g.shape[0], -1)[: rows * every : every, :1024]


def shares(x, asked, layout, kind, eps=0.0):
    """Shares of the bands of rows x (R, N), by the definition of the discrete Fourier transform."""
    n = x.shape[1]
    k = np.arange(n // 2 + 1)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(n), k) / n)
    transform = x @ wave
    weight = np.where((k == 0) | ((n % 2 == 0) & (k == n // 2)), 1.0, 2.0)
    spectrum = weight * np.abs(transform) ** 2 if kind == "power" else np.abs(transform)
    spectrum = spectrum.mean(0)[1:]
    cuts = edges(n // 2, asked, layout)
    total = spectrum.sum() + eps
    return np.array([spectrum[a:b].sum() for a, b in pairwise(cuts)]) / total


def white(n, asked, layout):
    weight = np.full(n // 2, 2.0)
    if n % 2 == 0:
        weight[-1] = 1.0
    cuts = edges(n // 2, asked, layout)
    return np.array([weight[a:b].sum() for a, b in pairwise(cuts)]) / weight.sum()


def calibrated(bands, noise, alpha, handler, delta, low, high):
    first = math.floor(WATCHED[handler] * len(bands))
    if first == 0:
        return alpha
    h, h0 = bands[first:].sum(), noise[first:].sum()
    u = (h - h0) / (1 - h0) if h > h0 else (h - h0) / h0
    return min(max(alpha + delta * u, min(low, alpha)), max(high, alpha))


def seed(bands, noise, alpha, handler, delta, low, high):
    n = len(bands)
    if handler == "simple":
        return min(0.98, alpha + 0.05 * bands[n // 2 :].sum())
    if handler == "conv":
        if bands[n // 4 : 3 * n // 4].sum() > 0.4:
            return min(0.97, alpha + 0.07)
        return min(0.95, alpha + 0.05) if bands[3 * n // 4 :].sum() > 0.3 else alpha
    if handler == "attention":
        peak = int(np.argmax(bands))
        if peak < n // 4:
            return max(0.85, alpha - 0.05)
        return min(0.98, alpha + 0.08) if peak > 3 * n // 4 else alpha
    if handler == "embedding":
        return min(0.98, alpha + 0.08) if bands[3 * n // 4 :].sum() > 0.2 else alpha
    return min(0.95, alpha + 0.05) if bands[n // 2 :].sum() > 0.3 else alpha


class NumpyFAM:
    """A parameter and its steps."""

    def __init__(self, point, **settings):
        self.p = np.array(point, dtype=np.float64)
        self.m, self.v = np.zeros_like(self.p), np.zeros_like(self.p)
        self.s = {
            "lr": 1e-3, "alpha": 0.9, "beta": 0.99, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": True,
            "n_bands": 8, "band_layout": None, "fam_start_step": 100, "min_size": 256, "update_every": 1,
            "signal": "spatial", "rule": "calibrated", "handler": "default", "delta": 0.08, "alpha_min": 0.5,
            "alpha_max": 0.98, "bias_correction": False, "maximize": False, "adam": False, **settings,
        }  # fmt: skip
        self.t, self.bands, self.prod, self.probes, self.alphas = 0, None, 1.0, [], []

    def _momentum(self, g):
        s = self.s
        if s["signal"] == "none" or g.size <= s["min_size"]:
            return s["alpha"]
        if s["signal"] == "temporal":
            count, every = min(128, g.size), max(1, g.size // 128)
            probe = g.reshape(-1)[: count * every : every]
            size = np.linalg.norm(probe)
            self.probes = [*self.probes, probe / size if size > 0 else 0 * probe][-32:]
            rows = np.zeros((32, count))
            rows[32 - len(self.probes) :] = self.probes
            x = rows.T
        else:
            x = sample(g)
        if x.shape[1] < 2 or self.t <= s["fam_start_step"]:
            return s["alpha"]
        layout = s["band_layout"] or LAYOUTS[s["handler"]]
        if (self.t - s["fam_start_step"] - 1) % s["update_every"] == 0:
            kind = "power" if s["rule"] == "calibrated" else "amplitude"
            if np.abs(x - x.mean(1, keepdims=True)).max() > 0:
                new = shares(x, s["n_bands"], layout, kind, s["eps"] if kind == "amplitude" else 0.0)
                self.bands = new if self.bands is None else s["beta"] * self.bands + (1 - s["beta"]) * new
        if self.bands is None:
            return s["alpha"]
        rule = calibrated if s["rule"] == "calibrated" else seed
        noise = white(x.shape[1], s["n_bands"], layout)
        return rule(self.bands, noise, s["alpha"], s["handler"], s["delta"], s["alpha_min"], s["alpha_max"])

    def step(self, g):
        s, self.t = self.s, self.t + 1
        g = np.array(g, dtype=np.float64) * (-1 if s["maximize"] else 1)
        if not s["decoupled"]:
            g = g + s["weight_decay"] * self.p
        alpha = self._momentum(g)
        self.alphas.append(alpha)
        self.m = alpha * self.m + (1 - alpha) * g
        self.prod *= alpha
        if s["decoupled"]:
            self.p = self.p * (1 - s["lr"] * s["weight_decay"])
        if s["adam"]:
            self.v = s["beta2"] * self.v + (1 - s["beta2"]) * g * g
            root = np.sqrt(self.v / (1 - s["beta2"] ** self.t)) + s["eps"]
            self.p = self.p - s["lr"] * self.m / (1 - self.prod) / root
        else:
            self.p = self.p - s["lr"] * (self.m / (1 - self.prod) if s["bias_correction"] else self.m)


@pytest.fixture(scope="session")
def numpy_fam():
    return NumpyFAM


@pytest.fixture(scope="session")
def numpy_shares():
    return shares
