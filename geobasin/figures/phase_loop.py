"""The coupler of one tensor as a phase-locked loop: a toy gradient, its readings, its drawing."""

import math
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geobasin.dclr_reference import ReferenceDCLR
from geobasin.figures.style import Palette, Plate, axes

STEPS, COORDINATES = 240, 64
BETA1, BETA2 = 0.9, 0.999
NOISE_FLOOR = math.sqrt(1 - BETA1**2)


class LoopReadings(NamedTuple):
    """What the coupler does, step by step, [T] each; NaN where a step has no momentum yet.

    Attributes:
        phase: the phase error A, mean of the clamped votes, -1 to 1.
        h: the integrator after the step, -H to H; the gain of the rate is exp(h).
        coherence: cosine of the gradient and the momentum before it.
        late: cosine of the gradient and the momentum that holds it already.
    """

    phase: NDArray[np.float64]
    h: NDArray[np.float64]
    coherence: NDArray[np.float64]
    late: NDArray[np.float64]


def toy_gradients(agreement: float, onset: int, seed: int) -> NDArray[np.float64]:
    """Gradients of unit variance, of which each agrees with the one before as asked.

    ``g_t = r g_{t-1} + sqrt(1 - r^2) n_t`` with fresh normal noise n_t: r = 1 repeats the gradient,
    r = 0 is noise, r = -1 flips its sign at every step, as in a valley that each step overshoots.
    The noise comes from a congruential generator (Numerical Recipes' constants) by Box and Muller's
    rule, so that the live figure can draw the same numbers without a kernel.

    Args:
        agreement: r, the correlation of successive gradients, -1 to 1.
        onset: the first step, from 1, with that agreement; earlier ones are noise.
        seed: of the noise, >= 0.

    Returns:
        [T, N] with T = 240 steps and N = 64 coordinates.
    """
    rows = _noise(seed)
    for t in range(max(1, onset - 1), STEPS):
        rows[t] = agreement * rows[t - 1] + math.sqrt(1 - agreement**2) * rows[t]
    return rows


def _noise(seed: int) -> NDArray[np.float64]:
    state = (seed + 1) * 2654435761 % 2**32
    uniform = np.empty(STEPS * COORDINATES)
    for index in range(uniform.size):
        state = (1664525 * state + 1013904223) % 2**32
        uniform[index] = (state + 0.5) / 2**32
    length, angle = np.sqrt(-2 * np.log(uniform[::2])), 2 * np.pi * uniform[1::2]
    pairs = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
    return pairs.reshape(STEPS, COORDINATES)


def follow_loop(
    gradients: NDArray[np.float64], coupling: float, memory: float, bound: float
) -> LoopReadings:
    """Feed gradients to :class:`geobasin.dclr_reference.ReferenceDCLR` and read its coupler.

    Args:
        gradients: [T, N].
        coupling: kappa.
        memory: rho, 0 to 1.
        bound: H, >= 0.

    Returns:
        The readings of every step.
    """
    tensor = torch.zeros(gradients.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = ReferenceDCLR(
        [tensor], betas=(BETA1, BETA2), coupling=coupling, memory=memory, bound=bound
    )
    readings = []
    for t, row in enumerate(torch.from_numpy(gradients), start=1):
        phase = coherence = math.nan
        if t > 1:
            state = optimizer.state[tensor]
            votes = row * state["m"] / (state["v"] / (1 - BETA2 ** (t - 1)))
            phase = float(votes.clamp(-1, 1).mean())
            coherence = float(torch.cosine_similarity(row, state["m"], dim=0))
        tensor.grad = row
        optimizer.step()
        state = optimizer.state[tensor]
        late = float(torch.cosine_similarity(row, state["m"], dim=0))
        readings.append((phase, float(state["h"]), coherence, late))
    return LoopReadings(*np.array(readings).T)


def phase_loop(readings: LoopReadings, bound: float) -> Plate:
    """Draw phase error, coherence and the integrator with its bound.

    Args:
        readings: of the loop.
        bound: H, >= 0.

    Returns:
        The figure.
    """
    steps = np.arange(1, len(readings.h) + 1)

    def draw(palette: Palette) -> Figure:
        figure, (top, middle, bottom) = axes(palette, rows=3, height=6.0)
        top.axhline(0, color=palette.muted, linewidth=1)
        top.plot(steps, readings.phase)
        top.set_ylabel("phase error A")
        for level in (0, NOISE_FLOOR):
            middle.axhline(level, color=palette.muted, linewidth=1)
        middle.plot(steps, readings.coherence, label="with $m_{t-1}$")
        middle.plot(steps, readings.late, "--", label="with $m_t$")
        middle.set_ylabel("coherence")
        middle.set_ylim(-1.05, 1.05)
        middle.legend(ncols=2)
        for level in (-bound, bound):
            bottom.axhline(level, color=palette.series[1], linestyle="--", linewidth=1)
        bottom.plot(steps, readings.h)
        bottom.set_ylabel("integrator h")
        bottom.set_xlabel("step")
        bottom.set_ylim(-1.15 * max(bound, 0.5), 1.15 * max(bound, 0.5))
        gain = bottom.twinx()
        gain.set_ylim(bottom.get_ylim())
        gain.set_yticks([-bound, 0, bound], [f"{math.exp(h):.2g}" for h in (-bound, 0, bound)])
        gain.grid(visible=False)
        gain.set_ylabel("gain exp(h)")
        figure.align_ylabels([top, middle, bottom])
        return figure

    late = slice(len(steps) // 2, None)
    means = (float(np.nanmean(part[late])) for part in (readings.phase, *readings[2:]))
    words = "phase error {:.3f}, coherence {:.3f} with the momentum before the gradient, {:.3f} "
    return Plate(
        draw,
        "Over the second half of the steps, mean "
        + (words + "with the one after it").format(*means)
        + f". The integrator h ends at {readings.h[-1]:.2f}, its bound is {bound:g}, and the gain "
        f"ends at {math.exp(readings.h[-1]):.2f}.",
    )
