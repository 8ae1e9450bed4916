"""Equilibrium pruning in a plain PyTorch loop: two lines before it, one after.

python examples/plain_loop.py
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import secateurs
from secateurs import Budget, MarketSettings

torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32) / 16
y = torch.tensor(digits.target)
order = torch.randperm(len(x))
train, test = order[:1400], order[1400:]

model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
steps = 1200

# -- these two lines --------------------------------------------------------------------------------------
players = secateurs.players(model, x[:2], granularity="channel")
optimizer = secateurs.Equilibrium(
    players, budget=Budget(macs=0.2), market=MarketSettings(warmup=120, horizon=600)
).wrap(optimizer)
# ---------------------------------------------------------------------------------------------------------

scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
for _ in range(steps):
    batch = train[torch.randint(len(train), (128,))]
    loss = F.cross_entropy(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()

# -- and this one -----------------------------------------------------------------------------------------
small = optimizer.harvest()
# ---------------------------------------------------------------------------------------------------------


def accuracy(net: nn.Module) -> float:
    with torch.no_grad():
        return (net(x[test]).argmax(1) == y[test]).float().mean().item()


print(small)
print(f"with gates {accuracy(model):.3f}, after removal {accuracy(small):.3f}")
print(f"MACs {secateurs.count_macs(model, x[:1]):,} -> {secateurs.count_macs(small, x[:1]):,}")
print(optimizer.certificate.sentence)
