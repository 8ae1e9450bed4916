"""Which architectures can be cut, how far, and is what is left the same function?

    python -m benchmarks.architectures [--family torchvision,plain] [--models a,b] [--rivals] [--markdown FILE]

Every model of :mod:`.models` is traced, half of each family's groups (a random half) is cut out, and what is
left is judged by :mod:`.judge`: it must compute what the masked network computes, train, and survive saving.
Each model runs in its own process with a time limit, so a hang or a crash is one row of the table.
"""
