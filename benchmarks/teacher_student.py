"""How long a lot of teacher–student rounds takes, and the same learnt one example at a time.

    python -m benchmarks.teacher_student [--rounds 10] [--steps 800000] [--threads 1] [--student 6] [--teacher 2]

Every round has two students, σ = 0 and σ = 0.25. The plain loop does a few hundred steps of the same rounds with the
same batched operations, one example a step, and is scaled up.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from secateurs.theory.teacher_student.simulation import Lot, Setting


def plain(lot: Lot, steps: int) -> float:
    """Seconds a step of the rule as it is written, all rounds at once."""
    s, N = lot.setting, lot.setting.inputs
    w, v = lot.w.clone(), lot.v.clone()
    noises = torch.tensor(s.noises)[None]
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(steps):
            x = torch.stack([torch.randn(N, generator=g) for g in lot.generators])
            zeta = torch.stack([torch.randn(1, generator=g) for g in lot.generators])
            clean = torch.erf(torch.einsum("rmn,rn->rm", lot.teacher, x) / math.sqrt(2 * N)) @ lot.A
            u = torch.einsum("rlkn,rn->rlk", w, x) / math.sqrt(2 * N)
            g = torch.erf(u)
            delta = clean[:, None] + noises * zeta - (g * v).sum(-1)
            change = v * torch.exp(-(u**2)) * delta[..., None] * (s.rate * math.sqrt(2 / math.pi / N))
            w.addcmul_(change[..., None], x[:, None, None])
            v.addcmul_(g, delta[..., None], value=s.rate / N)
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 10), ("steps", 800_000), ("threads", 1), ("student", 6), ("teacher", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lot = Lot.begin(Setting(teacher=given.teacher, student=given.student, noises=(0.0, 0.25)), range(given.rounds))
    each = plain(lot, min(given.steps, 500))
    wall, busy = time.perf_counter(), time.process_time()
    lot.advance(given.steps)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    print(f"torch {torch.__version__}, {given.threads} thread(s), {given.rounds} rounds of 2 students, N = 500, "
          f"K = {given.student}, M = {given.teacher}")  # fmt: skip
    print(
        f"in blocks: {given.steps:,} steps in {wall:.0f} s ({busy:.0f} s of processor), "
        f"{1e6 * wall / given.steps:.0f} µs a step"
    )
    print(f"one example at a time: {1e6 * each:.0f} µs a step, {each * given.steps / wall:.1f} times as long")
    print("half-MSE at the end:", ", ".join(f"{e:.4f}" for e in lot.order.error().mean(0).tolist()))


if __name__ == "__main__":
    main()
