"""Measured speed against the MACs saved: resnet20 at macs=0.4, both networks in ONNX Runtime, interleaved.

    python -m benchmarks.onnx_speed --data cifar10:DIR [--threads 1] [--granularity block]

The widths, or the blocks, are those that the market found in benchmarks/cifar_resnet20 (run here if they are not there
yet); weights do not change the speed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.cifar_resnet20 import CACHE, KINDS, MODEL, settings
from secateurs.artifact import export_onnx
from secateurs.measure import compare_latency, compare_onnx, count_macs
from secateurs.reproduce.cells import Cell, run_cells
from secateurs.reproduce.experiments import narrow, setup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--limit", type=int, default=10000)
    parser.add_argument("--granularity", default="channel", choices=["channel", "block"])
    arguments = parser.parse_args()
    common = settings(arguments.data, arguments.epochs, arguments.limit or None, "bf16", arguments.granularity)
    cell = Cell("method", {**common, "budget": {"macs": 0.4}, "name": "equilibrium", "options": {}}, 0)
    found = run_cells([cell], KINDS, CACHE)[0]
    data, dense = setup(arguments.data, MODEL, 0, arguments.limit or None)
    small = narrow(dense, data, found["widths"], arguments.granularity)
    networks = {"dense": dense.eval(), "pruned": small.eval()}
    one = data.example_inputs(1)
    macs = {name: count_macs(net, one) for name, net in networks.items()}
    saved = macs["dense"] / macs["pruned"]
    amounts = f"{macs['dense'] / 1e6:.2f} → {macs['pruned'] / 1e6:.2f} MMACs, {saved:.2f}× fewer"
    print(f"{arguments.granularity}s {found['widths']}, {amounts}")
    print(
        f"{'engine':14} {'batch':>5} {'dense':>10} {'pruned':>10} {'faster':>8} {'quartiles':>14} {'of MACs ratio':>14}"
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in networks}
        for name, net in networks.items():
            export_onnx(net, data.example_inputs(2), paths[name])
        for batch in (1, 32):
            inputs = (torch.randn(batch, *data.input_shape),)
            timed = {
                "ONNX Runtime": compare_onnx(paths, inputs, threads=arguments.threads),
                "PyTorch": compare_latency(networks, inputs, threads=arguments.threads),
            }
            for engine, times in timed.items():
                ratio = times.speedup["pruned"]
                print(
                    f"{engine:14} {batch:5} {times['dense'].median_ms:7.3f} ms {times['pruned'].median_ms:7.3f} ms "
                    f"{ratio.median:7.2f}× {ratio.q25:6.2f} –{ratio.q75:5.2f} {ratio.median / saved:14.2f}"
                )


if __name__ == "__main__":
    main()
