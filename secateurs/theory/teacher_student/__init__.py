"""Teacher and student: two-layer networks whose learning and pruning have equations (Goldt et al. 2019; Acharyya et al. 2021).

``simulation`` trains students online; ``dynamics`` integrates what their order parameters (``order``) do in the limit of
many inputs, made of the Gaussian means in ``averages``; ``pruning`` cuts units or weights of them and measures the loss;
``statements`` are the theorems on what that costs, both sides.
"""
