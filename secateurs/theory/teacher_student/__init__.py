"""Teacher and student: two-layer networks whose learning and pruning have equations.

``simulation`` trains students online; ``dynamics`` integrates what their order parameters (``order``) do in the limit
of many inputs, made of the Gaussian means in ``averages`` (Goldt et al. 2019). ``pruning`` cuts units or weights of
them and measures the loss; ``closed`` is what that costs a converged student, and ``statements`` are the theorems on
it, both sides (Acharyya et al. 2021).
"""

from . import averages, closed, dynamics, order, pruning, simulation, statements

__all__ = ["averages", "closed", "dynamics", "order", "pruning", "simulation", "statements"]
