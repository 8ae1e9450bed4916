"""The certificate: how far the final profile is from an equilibrium, in closed form.

For the game at fixed prices a player's utility is a concave quadratic in its own participation, so best
responses and gains are exact (game, (11)–(15)); the best-response map's Jacobian,
∂s*_i/∂s_j = −η⟨θ_i,θ_j⟩/(2β‖θ_i‖²) between interior players, is a contraction when its spectral radius is below 1
(§5.3). In the market's game a player pays for a concave amount, so its best responses are 0 and 1; at
fixed prices nobody's choice moves another's and the map is constant, radius 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..maths import condition_number, spectral_radius
from ..partition import Players
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from .base import Arithmetic
from .utility import Utility

SLACK = 1e-3  # of the dense amount: demand so far below its path is told
INDIFFERENT = 0.05  # |∂U/∂s| of a partial player that counts as rest, in units of the mean square benefit


def certify_utility(
    players: Players, utility: Utility, b: PerPlayer, s: Participation, kept: Mask, sums: Arithmetic
) -> Certificate:
    """Certificate of the game at fixed prices. O(N·d), and O(n³) per layer for the spectral radius if η > 0."""
    sq, rivalry = sums.sq_norm(), sums.rivalry()
    gap = utility.nash_gap(s, b, sq, rivalry)
    out = utility.priced_out(b, rivalry)
    radius = _best_response_radius(players, utility, b, s, sq, rivalry, sums) if utility.eta else 0.0
    return _certificate("paper", players, gap, out, kept, radius, None)


def certify_market(
    players: Players,
    b: PerPlayer,
    paid: PerPlayer,
    slope: PerPlayer,
    amount: PerPlayer,
    s: Participation,
    kept: Mask,
    error: float,
    slack: float,
) -> Certificate:
    """Certificate of the market's game.

    Utilities b·s − paid·φ(s) have two local maxima, 0 and 1: a player can rest where a jump to the other end would pay.
    ``at_rest`` counts local equilibrium, the Nash gap measures the global one.

    Args:
        b: benefit per unit of participation (in units of the players' root mean square).
        paid: price of full participation. amount, slope: φ(s) and φ'(s).
        error: by how much demand missed a budget path that has a price, or exceeded one, as a fraction of dense.
        slack: by how much it stayed below all of them, where none has a price.
    """
    gap = torch.clamp(b - paid, min=0.0) - (b * s - paid * amount)
    push = b - paid * slope
    rest = torch.where(s >= 1, push >= 0, torch.where(s <= 0, push <= 0, push.abs() <= INDIFFERENT))
    return _certificate("market", players, gap, b < paid, kept, 0.0, error, int(rest.sum()), slack)


def _certificate(
    scope: str,
    players: Players,
    gap: Tensor,
    out: Tensor,
    kept: Mask,
    radius: float | None,
    error: float | None,
    at_rest: int | None = None,
    slack: float | None = None,
) -> Certificate:
    removed = ~kept
    certificate = Certificate(
        scope=scope,
        nash_gap=float(gap.max()),
        nash_gap_median=float(gap.median()),
        at_rest=at_rest,
        dominated=int(out.sum()),
        dominated_and_removed=int((out & removed).sum()),
        undominated_and_kept=int((~out & kept).sum()),
        spectral_radius=radius,
        contraction=None if radius is None else radius < 1,
        market_clearing_error=error,
        slack=slack,
        condition_numbers=condition_numbers(players),
    )
    certificate.sentence = sentence(certificate, players.count)
    return certificate


def sentence(c: Certificate, count: int) -> str:
    """The certificate in words; ``count`` players were there at the cut."""
    agree = c.dominated_and_removed + c.undominated_and_kept
    text = f"{c.left_earlier} players had left during training. " if c.left_earlier else ""
    if c.at_rest is not None:
        text += f"At the cut {c.at_rest} of {count} players were at rest: no small move would have paid. "
    text += (
        f"{agree} of {count} could not gain by changing sides (kept or removed) alone; "
        f"the most that one could gain is {c.nash_gap:.3g}, the median {c.nash_gap_median:.3g}."
    )
    if c.slack is not None and c.slack > SLACK:
        text += (
            f" No price was asked in the end: demand was {c.slack:.0%} of the dense amount below the budget path, "
            "since players had left of themselves."
        )
    elif c.market_clearing_error is not None:
        text += f" Demand met the budget path to {c.market_clearing_error:.1e} of the dense amount."
    if c.scope == "paper" and c.spectral_radius is not None:
        kind = "a contraction" if c.contraction else "no contraction"
        text += f" Best responses are {kind} (spectral radius {c.spectral_radius:.3g})."
    return text


def condition_numbers(players: Players) -> dict[str, float]:
    """σ_max/σ_min of every gated weight matrix as the network uses it, zero rows and columns left out (§9.3)."""
    out = {}
    for name, parameter in zip(players.gates.names, players.gates.parameters):
        if parameter.dim() < 2:
            continue
        matrix = parameter.detach().flatten(1)
        matrix = matrix[matrix.abs().sum(1) > 0]
        matrix = matrix[:, matrix.abs().sum(0) > 0]
        if matrix.numel():
            out[name] = condition_number(matrix)
    return out


def _best_response_radius(
    players: Players,
    utility: Utility,
    b: PerPlayer,
    s: Participation,
    sq: PerPlayer,
    rivalry: PerPlayer,
    sums: Arithmetic,
) -> float | None:
    """Largest spectral radius over layers of the Jacobian among interior players; None where β = 0
    (best responses jump, so there is no Jacobian)."""
    if utility.beta == 0:
        return None
    best = utility.best_response(b, sq, rivalry)
    interior = (best > 0) & (best < 1)
    worst = 0.0
    for layer in players.layers:
        span = slice(layer.start, layer.stop)
        inside = interior[span]
        if int(inside.sum()) < 2:
            continue
        gram = layer_gram(players, sums, layer.start, layer.stop)[inside][:, inside]
        gram.fill_diagonal_(0.0)
        jacobian = -utility.eta * gram / (2 * utility.beta * sq[span][inside].double())[:, None]
        worst = max(worst, spectral_radius(jacobian))
    return worst


def layer_gram(players: Players, sums: Arithmetic, start: int, stop: int) -> Tensor:
    """⟨θ_i, θ_j⟩ between the players ``start … stop−1`` of one layer, float64."""
    total = torch.zeros(stop - start, stop - start, dtype=torch.float64, device=players.device)
    for who, rows in players.gates.stacked(sums.theta):
        inside = (who >= start) & (who < stop)
        if bool(inside.any()):
            index, mine = who[inside] - start, rows[inside].double()
            total[index[:, None], index[None, :]] += mine @ mine.T
    return total
