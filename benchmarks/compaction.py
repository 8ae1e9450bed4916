"""A whole MNIST run to 4.82% of the neurons, with compaction, against dense training of the same number of steps.

    python -m benchmarks.compaction --data mnist:DIR [--epochs 20] [--repeats 3] [--threads 1]

The two are interleaved epoch by epoch (the machine's drift meets both), and wall seconds are summed.
"""

from __future__ import annotations

import argparse
import statistics

import torch

import secateurs
from secateurs import Budget
from secateurs.recipes import EquilibriumOptions, EquilibriumRun
from secateurs.training import Trainer


def once(data_spec: str, epochs: int, seed: int, *, compact: bool = True) -> tuple[float, float]:
    """Seconds of dense training and of the pruning run."""
    data = secateurs.load_data(data_spec, seed=seed)
    options = EquilibriumOptions(compact=compact)

    def trainer(model: torch.nn.Module, **settings) -> Trainer:
        return Trainer(
            model, data, batch_size=128, seed=seed, epochs=epochs, progress=False, evaluate_every=0, **settings
        )

    dense = secateurs.build_model("zoo:mlp-512-256", seed=seed)
    plain = trainer(dense, optimizer=options.make(dense))
    net = secateurs.build_model("zoo:mlp-512-256", seed=seed)
    players = secateurs.players(net, data.example_inputs(2)).limit(options.minimum)
    run = EquilibriumRun(players, Budget(groups=37), options, plain.total_steps, None)
    pruning = trainer(net, optimizer=run.optimizer, callbacks=[run], lr=run.rate)
    for epoch in range(epochs):
        stop = (epoch + 1) * plain.steps_per_epoch
        plain.run(stop=stop)
        pruning.run(stop=stop)
    return sum(plain.seconds.values()), sum(pruning.seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ratios = []
    for seed in range(arguments.repeats):
        dense, pruning = once(arguments.data, arguments.epochs, seed)
        without = once(arguments.data, arguments.epochs, seed, compact=False)[1] if seed == 0 else None
        ratios.append(pruning / dense)
        extra = f", without compaction {without:.1f} s" if without else ""
        print(
            f"seed {seed}: dense {dense:.1f} s, pruning run {pruning:.1f} s, ratio {ratios[-1]:.3f}{extra}", flush=True
        )
    print(f"median ratio {statistics.median(ratios):.3f} (target 0.80), {arguments.threads} thread(s)")


if __name__ == "__main__":
    main()
