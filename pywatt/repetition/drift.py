"""Separate a slow drift of power, common to all kinds of calls, from the level of each kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# The drift is linear from node to node and smooth over a few seconds, since it comes from
# temperatures and clocks. A long replay has fewer nodes per second.
NODE_S = 0.5
MAX_NODES = 60
SMOOTH_NODES = 4.0
SMOOTHEST_S = 120.0

# Drift and spread are searched between these shares of the power.
LEAST_DRIFT = 1e-5
MOST = 0.3

# Keeps the covariance of a smooth drift invertible, as a share of its variance.
ROUGHNESS = 1e-5

# A kind's spread is estimated from its own blocks and from those of all kinds, which count as this
# many blocks more.
POOLED_BLOCKS = 4.0

# Fits that are tried for the most likely spread, drift and smoothness.
MOST_FITS = 90


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of the kinds of calls, freed of the drift that they have in common.

    Attributes:
        level: of each kind, as a share of what was assumed for it, shape (kinds,).
        level_std: one standard deviation, shape (kinds,).
        spread: standard deviation of one block, shape (kinds,).
        drift_std: standard deviation of the drift over the blocks.
    """

    level: FloatArray
    level_std: FloatArray
    spread: FloatArray
    drift_std: float


def fit_levels(
    time_s: FloatArray,
    kind: IntArray,
    ratio: FloatArray,
    ratio_var: FloatArray,
    least_spread: float,
) -> Levels:
    """Fit a level for each kind and a drift common to all, by restricted maximum likelihood.

    A linear mixed model (D. Harville, J. Am. Stat. Assoc. 72, 1977): a block's ratio is its kind's
    level, the drift at its time, and an error of its own.

    Args:
        time_s: when each block ran, shape (blocks,).
        kind: its kind, from 0 on without gaps, shape (blocks,).
        ratio: energy of a call in it over what was assumed for its kind, shape (blocks,).
        ratio_var: variance of it by the readings' own noise, shape (blocks,).
        least_spread: smallest spread of a kind.
    """
    from scipy.optimize import minimize  # takes a moment to import

    model = _Model.of(time_s, kind, ratio - 1.0)
    roughest_s = SMOOTH_NODES * model.step_s
    bounds = np.log([(least_spread, MOST), (LEAST_DRIFT, MOST), (roughest_s, SMOOTHEST_S)])

    def lack(at: FloatArray) -> float:
        spread, drift, smooth_s = np.exp(at)
        return -model.log_likelihood(ratio_var + spread**2, drift, smooth_s)

    options = {"xatol": 0.05, "fatol": 0.05, "maxfev": MOST_FITS}
    start = np.log([max(0.005, least_spread), 0.005, 3.0 * roughest_s])
    best = minimize(lack, start, method="Nelder-Mead", bounds=bounds, options=options)
    spread, drift, smooth_s = (float(part) for part in np.exp(best.x))
    first = model.solve(ratio_var + spread**2, drift, smooth_s)
    # The fit follows each block by its leverage, which shrinks its residual.
    var = (model.ratio - first.fitted) ** 2 / np.maximum(1.0 - first.leverage, 1e-3)
    count = np.bincount(kind, minlength=model.kinds)
    own = np.bincount(kind, var, minlength=model.kinds) * (count - 1.0) / count
    own = (own + POOLED_BLOCKS * spread**2) / (count - 1.0 + POOLED_BLOCKS)
    own = np.maximum(np.sqrt(own), least_spread)
    final = model.solve(ratio_var + own[kind] ** 2, drift, smooth_s)
    return Levels(1.0 + final.level, final.level_std, own, float(np.std(final.drift)))


@dataclass(frozen=True, slots=True, eq=False)
class _Solution:
    level: FloatArray
    level_std: FloatArray
    drift: FloatArray
    fitted: FloatArray
    leverage: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """Columns: one for each kind, then the nodes of the drift, whose mean over blocks is zero."""

    columns: FloatArray
    kinds: int
    ratio: FloatArray
    node_s: FloatArray

    @classmethod
    def of(cls, time_s: FloatArray, kind: IntArray, ratio: FloatArray) -> _Model:
        kinds = int(np.max(kind)) + 1
        nodes = int(np.clip(round(float(np.ptp(time_s)) / NODE_S) + 1, 2, MAX_NODES))
        node_s = np.linspace(np.min(time_s), np.max(time_s), nodes)
        step_s = max(float(node_s[1] - node_s[0]), 1e-9)
        hats = np.maximum(0.0, 1.0 - np.abs(time_s[:, None] - node_s[None, :]) / step_s)
        hats -= np.mean(hats, axis=0)
        return cls(np.hstack((np.eye(kinds)[kind], hats)), kinds, ratio, node_s)

    @property
    def step_s(self) -> float:
        """Time from node to node."""
        return max(float(self.node_s[1] - self.node_s[0]), 1e-9)

    def solve(self, noise_var: FloatArray, drift: float, smooth_s: float) -> _Solution:
        """Solve for given variances of the blocks, and a drift of given deviation and smoothness.

        A Gaussian process with a squared exponential covariance.
        """
        information, _ = self._information(noise_var, drift, smooth_s)
        covariance = np.linalg.inv(information)
        found = covariance @ (self.columns.T @ (self.ratio / noise_var))
        return _Solution(
            level=found[: self.kinds],
            level_std=np.sqrt(np.diag(covariance)[: self.kinds]),
            drift=self.columns[:, self.kinds :] @ found[self.kinds :],
            fitted=self.columns @ found,
            leverage=np.sum((self.columns @ covariance) * self.columns, axis=1) / noise_var,
        )

    def log_likelihood(self, noise_var: FloatArray, drift: float, smooth_s: float) -> float:
        """Return the logarithm of the ratios' likelihood, for any levels, up to a constant."""
        information, log_det_alike = self._information(noise_var, drift, smooth_s)
        root = np.linalg.cholesky(information)
        explained = np.linalg.solve(root, self.columns.T @ (self.ratio / noise_var))
        left = float(self.ratio @ (self.ratio / noise_var) - explained @ explained)
        log_dets = 2.0 * float(np.sum(np.log(np.diag(root)))) + log_det_alike
        log_dets += float(np.sum(np.log(noise_var))) + 2.0 * len(self.node_s) * np.log(drift)
        return float(-0.5 * (left + log_dets))

    def _information(
        self, noise_var: FloatArray, drift: float, smooth_s: float
    ) -> tuple[FloatArray, float]:
        """Return the inverse covariance of levels and nodes, and the nodes' log determinant."""
        apart = (self.node_s[:, None] - self.node_s[None, :]) / smooth_s
        root = np.linalg.cholesky(np.exp(-0.5 * apart**2) + ROUGHNESS * np.eye(len(apart)))
        inverse_root = np.linalg.inv(root)
        information = self.columns.T @ (self.columns / noise_var[:, None])
        information[self.kinds :, self.kinds :] += inverse_root.T @ inverse_root / drift**2
        return information, 2.0 * float(np.sum(np.log(np.diag(root))))
