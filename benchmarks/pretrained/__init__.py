"""A pretrained network that we did not train: EfficientNet-Lite0, cut to 80% and 60% of its MACs without training.

    python -m benchmarks.pretrained --data imagenet:DIR [--markdown FILE] [--json FILE]

DIR/validation.parquet holds 1,000 ImageNet images, one of each class. 500 of them calibrate (gradients, statistics),
the other 500 are scored, once for every network: as it comes out of the cut, and after every recovery that
is asked for. Accuracy is that of the smaller network, after `shrink` and its check.
"""
