"""AdafactorMLP's update as a textbook writes it, in NumPy's double precision, for tests to compare with.

Every feature of every parameter is an entry of one array with a trailing axis; that array is normalised
channel by channel, the step features are repeated for every parameter and concatenated after it, and the
network is a plain matrix product. It is slow, and shares no code with `lopt`.
"""

import numpy as np

INITIAL_DECAYS = {"momentum": (0.9, 0.99, 0.999), "second": (0.999,), "factored": (0.9, 0.99, 0.999)}
TIME_SCALES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)


def textbook_decays(rule):
    """Compute d = 1 - exp(10 (log(1 - d0) / 10 + theta)), those of squares clipped to [0, 1]."""
    thetas = {"momentum": rule.momentum_decay, "second": rule.second_decay, "factored": rule.factored_decay}
    decays = {}
    for name, theta in thetas.items():
        in_theta_space = np.log(1 - np.array(INITIAL_DECAYS[name])) / 10
        decays[name] = 1 - np.exp(10 * (in_theta_space + np.asarray(theta, np.float64)))
    decays["second"] = np.clip(decays["second"], 0, 1)
    decays["factored"] = np.clip(decays["factored"], 0, 1)
    return decays


def textbook_init(shape):
    """Return zero averages; a trailing axis counts decays."""
    averages = {"t": 0, "m": np.zeros((*shape, 3)), "v": np.zeros((*shape, 1))}
    if len(shape) < 2:
        return averages | {"full": np.zeros((*shape, 3))}
    second, largest = np.argsort(shape, kind="stable")[-2:]
    return averages | {
        "row": np.zeros((*np.delete(shape, largest), 3)),
        "col": np.zeros((*np.delete(shape, second), 3)),
    }


def textbook_step(rule, averages, grad, param):
    """Return what is added to `param`, and the next averages.

    Args:
        rule: an `AdafactorMLP`, read for its weights and constants.
        averages: what `textbook_init` or the last call returned.
        grad: gradient of one tensor.
        param: that tensor.
    """
    grad, param = np.asarray(grad, np.float64), np.asarray(param, np.float64)
    averages = _move(textbook_decays(rule), averages, grad)
    per_parameter = np.concatenate(_features(averages, grad, param), axis=-1)
    assert per_parameter.shape == (*param.shape, 28)
    axes = tuple(range(param.ndim))
    normalised = per_parameter / np.sqrt(1e-5 + np.mean(per_parameter**2, axis=axes, keepdims=True))

    time = np.tanh(averages["t"] / np.array(TIME_SCALES) - 1)
    net = np.concatenate([normalised, np.broadcast_to(time, (*param.shape, 11))], axis=-1)
    for number, layer in enumerate(rule.layers):
        net = (net if number == 0 else np.maximum(net, 0)) @ np.asarray(layer["kernel"], np.float64)
        net = net + np.asarray(layer["bias"], np.float64)
    direction, magnitude = net[..., 0], net[..., 1]
    step = -direction * np.exp(magnitude * rule.magnitude_scale) * rule.step_scale
    return step, averages | {"t": averages["t"] + 1}


def _move(decays, averages, grad):
    def average(old, now, decay):
        return decay * old + (1 - decay) * now[..., None]

    new = {
        "t": averages["t"],
        "m": average(averages["m"], grad, decays["momentum"]),
        "v": average(averages["v"], grad**2, decays["second"]),
    }
    if grad.ndim < 2:
        return new | {"full": average(averages["full"], grad**2 + 1e-30, decays["factored"])}
    second, largest = np.argsort(grad.shape, kind="stable")[-2:]
    return new | {
        "row": average(averages["row"], np.mean(grad**2 + 1e-30, axis=largest), decays["factored"]),
        "col": average(averages["col"], np.mean(grad**2 + 1e-30, axis=second), decays["factored"]),
    }


def _features(averages, grad, param):
    m, v = averages["m"], averages["v"]
    root = 1 / np.sqrt(v + 1e-6)
    common = [grad[..., None], param[..., None], m, v, m * root, root]
    if grad.ndim < 2:
        full = averages["full"]
        inverse_root = 1 / np.sqrt(full + 1e-8)
        factored_grad = grad[..., None] * _safe_rsqrt(full + 1e-9)
        factored_momentum = m * (full + 1e-6) ** -0.5
        return [*common, factored_grad, full, full, inverse_root, inverse_root, factored_momentum]

    second, largest = np.argsort(grad.shape, kind="stable")[-2:]
    axis_in_row = second - 1 if second > largest else second
    row_mean = np.mean(averages["row"], axis=axis_in_row, keepdims=True)
    row_factor = np.expand_dims(_safe_rsqrt(averages["row"] / (row_mean + 1e-9)), largest)
    col_factor = np.expand_dims(_safe_rsqrt(averages["col"]), second)
    row = np.repeat(np.expand_dims(averages["row"], largest), grad.shape[largest], axis=largest)
    col = np.repeat(np.expand_dims(averages["col"], second), grad.shape[second], axis=second)
    return [
        *common,
        grad[..., None] * row_factor * col_factor,
        row,
        col,
        1 / np.sqrt(row + 1e-8),
        1 / np.sqrt(col + 1e-8),
        m * row_factor * col_factor,
    ]


def _safe_rsqrt(x):
    return 1 / np.sqrt(np.maximum(x, 1e-9))
