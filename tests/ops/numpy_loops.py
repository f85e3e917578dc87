"""The operations once more, in NumPy float64 loops written from the formulas of the notes."""

import numpy as np


def both(size):
    return size if isinstance(size, tuple) else (size, size)


def windows_along(size, kernel, stride, padding, dilation=1, fit="crop"):
    """The pixels of each window, as lists; those outside 0 .. size-1 are padding."""
    reach = dilation * (kernel - 1) + 1
    end = size + padding
    if fit == "pad":
        while end + padding < reach or (end + padding - reach) % stride:
            end += 1
    starts = range(-padding, end - reach + 1, stride)
    return [[start + dilation * tap for tap in range(kernel)] for start in starts]


def image_windows(x, kernel, stride, padding, dilation=1, fit="crop"):
    """Yield (i, j, rows, columns) for each output position of images [N, H, W, C]."""
    rows, columns = (
        windows_along(*numbers, fit=fit)
        for numbers in zip(
            x.shape[1:3], both(kernel), both(stride), both(padding), both(dilation), strict=True
        )
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            yield i, j, row, column


def fill(values):
    """Turn {(i, j): array [N, K]} into one array [N, H', W', K]."""
    height, width = (max(position) + 1 for position in zip(*values, strict=True))
    return np.stack(
        [np.stack([values[i, j] for j in range(width)], axis=1) for i in range(height)], axis=1
    )


def seen(x, row, column):
    """Pixels [N, F, F, C] of a window, padding as zeros."""
    patch = np.zeros((x.shape[0], len(row), len(column), x.shape[3]))
    for u, i in enumerate(row):
        for v, j in enumerate(column):
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                patch[:, u, v] = x[:, i, j]
    return patch


def held(x, row, column):
    """Only the pixels [N, n, C] of a window that lie in the image."""
    inside = [
        x[:, i, j] for i in row for j in column if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]
    ]
    return np.stack(inside, axis=1)


def conv2d(x, kernel, bias, stride=1, padding=0, dilation=1, groups=1, fit="crop"):
    """z(i, j, k) = sum over u, v, c of x(iS + u, jS + v, c) w(u, v, c, k), plus b(k)."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    per_group, filters = x.shape[3] // groups, kernel.shape[3]
    out = {}
    for i, j, row, column in image_windows(x, kernel.shape[:2], stride, padding, dilation, fit):
        patch = seen(x, row, column)
        maps = []
        for k in range(filters):
            first = k // (filters // groups) * per_group
            z = patch[..., first : first + per_group] * kernel[..., k]
            maps.append(z.sum(axis=(1, 2, 3)) + bias[k])
        out[i, j] = np.stack(maps, axis=-1)
    return fill(out)


def local_conv2d(x, kernel, bias, stride=1, padding=0, fit="crop"):
    """The same with a filter w[i, j] and a bias b[i, j] for each position."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    out = {}
    for i, j, row, column in image_windows(x, kernel.shape[2:4], stride, padding, 1, fit):
        z = seen(x, row, column)[..., None] * kernel[i, j]
        out[i, j] = z.sum(axis=(1, 2, 3)) + bias[i, j]
    return fill(out)


def pool(x, reduce, kernel, stride, padding=0, fit="crop"):
    """Apply `reduce` ([N, n, C] -> [N, C]) to the pixels of the image each window holds."""
    x = np.asarray(x, np.float64)
    return fill(
        {
            (i, j): reduce(held(x, row, column))
            for i, j, row, column in image_windows(x, kernel, stride, padding, 1, fit)
        }
    )


def batchnorm_forward(x, gamma, beta, bn_param):
    """N0's function on [N, D], its momentum included: that weights the NEW statistic."""
    eps, momentum = bn_param["eps"], bn_param["momentum"]
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1]))
    if bn_param["mode"] == "train":
        sample_mean = np.mean(x, axis=0)
        sample_var = np.var(x, axis=0)
        out = gamma * ((x - sample_mean) / np.sqrt(sample_var + eps)) + beta
        running_mean = (1 - momentum) * running_mean + momentum * sample_mean
        running_var = (1 - momentum) * running_var + momentum * sample_var
    else:
        out = gamma * ((x - running_mean) / np.sqrt(running_var + eps)) + beta
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out


def local_response_norm(x, size, k, alpha, beta):
    """Krizhevsky et al. 2012, section 3.3, channel by channel."""
    x = np.asarray(x, np.float64)
    out = np.empty_like(x)
    last = x.shape[-1] - 1
    for i in range(last + 1):
        low, high = max(0, i - size // 2), min(last, i + size // 2)
        activity = sum(x[..., j] ** 2 for j in range(low, high + 1))
        out[..., i] = x[..., i] / (k + alpha * activity) ** beta
    return out
