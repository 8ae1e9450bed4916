"""The order parameters' equations of motion, in the limit N → ∞ (Goldt et al. 2019, S28–S36).

One step of online SGD moves w by η/√N and v by η/N, so that at t = steps/N, with a = (−v, A) and Δ = Σ_a a_a g(x_a),

    dR_in/dt = η v_i Σ_a a_a I3(i, n, a)                     dv_i/dt = η_v Σ_a a_a I2(i, a)
    dQ_ik/dt = η [v_i Σ_a a_a I3(i, k, a) + (i ↔ k)] + η² v_i v_k [Σ_ab a_a a_b I4(i, k, a, b) + σ² J2(i, k)]

and T stays. They are integrated by the classical Runge–Kutta method.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .averages import i2, i3, i4, j2
from .order import Order


def velocity(order: Order, rate: float, noise: Tensor | float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """dQ/dt, dR/dt and dv/dt.

    Args:
        rate: η, of both layers. noise: σ, one number or one for each of the batch.
    """
    C, a, v = order.covariance, order.difference, order.v
    K = v.shape[-1]
    pull = torch.einsum("...i,...a,...ika->...ik", v, a, i3(C, K)) * rate  # (…, K, K + M): how unit i follows field k
    spread = torch.einsum("...a,...b,...ikab->...ik", a, a, i4(C, K))
    variance = torch.as_tensor(noise, dtype=v.dtype)[..., None, None] ** 2
    spread = spread + variance * j2(C)[..., :K, :K]
    within = pull[..., :K]
    dQ = within + within.transpose(-2, -1) + rate**2 * v[..., :, None] * v[..., None, :] * spread
    dv = rate * torch.einsum("...a,...ia->...i", a, i2(C)[..., :K, :])
    return dQ, pull[..., K:], dv


def integrate(
    order: Order, times: Sequence[float], rate: float, noise: Tensor | float = 0.0, step: float = 0.1
) -> list[Order]:
    """The order parameters at ``times``, ascending, from those at time 0; ``step`` is the longest that is taken."""
    found, now = [], 0.0
    for time in times:
        if time < now:
            raise ValueError(f"times {list(times)}: must ascend from 0")
        count = max(1, -int(-(time - now) // step)) if time > now else 0
        for _ in range(count):
            order = _runge_kutta(order, (time - now) / count, rate, noise)
        now = time
        found.append(order)
    return found


def _runge_kutta(order: Order, h: float, rate: float, noise: Tensor | float) -> Order:
    def moved(by: tuple[Tensor, Tensor, Tensor], factor: float) -> Order:
        return Order(order.Q + factor * by[0], order.R + factor * by[1], order.T, order.v + factor * by[2], order.A)

    first = velocity(order, rate, noise)
    second = velocity(moved(first, h / 2), rate, noise)
    third = velocity(moved(second, h / 2), rate, noise)
    last = velocity(moved(third, h), rate, noise)
    mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, last))
    return moved((mean[0], mean[1], mean[2]), h)


__all__ = ["integrate", "velocity"]
