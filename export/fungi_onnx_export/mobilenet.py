"""MobileNetV2 in raw TensorFlow: the stand-in's trunk, and random weights for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]


class Layer(NamedTuple):
    """A convolution with its batch norm, named as in TF-slim."""

    name: str
    kernel: tuple[int, int, int, int]  # height, width, inputs, outputs (depthwise: inputs, 1)
    stride: int = 1
    relu: bool = True
    opens: bool = False  # this layer's input is the block's
    adds: bool = False  # the block's input is added to this layer's output

    @property
    def depthwise(self) -> bool:
        return self.name.endswith("depthwise")

    @property
    def variables(self) -> list[str]:
        """The kernel, then the batch norm's gamma, beta, mean and variance."""
        kernel = "depthwise_weights" if self.depthwise else "weights"
        norm = ("gamma", "beta", "moving_mean", "moving_variance")
        return [f"{self.name}/{kernel}", *(f"{self.name}/BatchNorm/{part}" for part in norm)]


def mobilenet_v2(width: float) -> list[Layer]:
    """The trunk's layers, after table 2 of https://arxiv.org/abs/1801.04381."""
    channels = _by_eight(32 * width)
    layers = [Layer("MobilenetV2/Conv", (3, 3, 3, channels), stride=2)]
    number = 0
    for expansion, base, repeats, first_stride in _BLOCKS:
        for stride in [first_stride, *[1] * (repeats - 1)]:
            block = "MobilenetV2/expanded_conv" + (f"_{number}" if number else "")
            inner, outer, wide = channels * expansion, _by_eight(base * width), expansion > 1
            if wide:
                layers.append(Layer(f"{block}/expand", (1, 1, channels, inner), opens=True))
            layers.append(Layer(f"{block}/depthwise", (3, 3, inner, 1), stride, opens=not wide))
            adds = stride == 1 and channels == outer
            layers.append(Layer(f"{block}/project", (1, 1, inner, outer), relu=False, adds=adds))
            channels, number = outer, number + 1
    # The paper keeps 1280 for narrow networks too; a small stand-in had better be small.
    return [*layers, Layer("MobilenetV2/Conv_1", (1, 1, channels, _by_eight(1280 * width)))]


# Expansion, channels, repeats, stride of the first.
_BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
_BLOCKS += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def _by_eight(channels: float) -> int:
    """A multiple of 8, at least 8 and not more than 10 % below ``channels`` (TF-slim's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def features(
    images: Any,
    layers: Sequence[Layer],
    weights: Mapping[str, Any],
    observe: Callable[[Layer, Any], None] = lambda _layer, _output: None,
) -> Any:
    """The trunk, run eagerly or written into a graph: float32 [n, channels], means over all places.

    Args:
        images: float32 [n, height, width, 3] in [0,1].
        weights: arrays or variables by name.
        observe: sees each convolution's output before the batch norm reads its statistics.
    """
    x = block = images * 2.0 - 1.0
    for layer in layers:
        block = x if layer.opens else block
        with tf.name_scope(f"{layer.name}/"):
            convolve = tf.nn.depthwise_conv2d if layer.depthwise else tf.nn.conv2d
            kernel, *norm = layer.variables
            x = convolve(x, weights[kernel], [1, layer.stride, layer.stride, 1], "SAME")
            observe(layer, x)
            values = [weights[name] for name in norm]
            x = tf.compat.v1.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False)[0]
            x = tf.nn.relu6(x) if layer.relu else x
            x = x + block if layer.adds else x
    return tf.reduce_mean(x, [1, 2], name="MobilenetV2/Logits/AvgPool")


def random_trunk(layers: Sequence[Layer], seed: int) -> Weights:
    """Random convolutions that lose little of a picture on the way through 52 layers.

    Pure noise would: each layer would scatter near pictures a little more. So the depthwise kernels
    smooth, each to a degree of its own, and the betas keep most values where relu6 is straight.
    """
    rng = np.random.default_rng(seed)
    smooth = np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None] / 16
    weights: Weights = {}
    for layer in layers:
        channels = max(layer.kernel[2:]) if layer.depthwise else layer.kernel[3]
        noise = rng.standard_normal(layer.kernel) * np.sqrt(2 / np.prod(layer.kernel[:3]))
        if layer.depthwise:
            share = rng.uniform(0.3, 1, (1, 1, channels, 1))
            noise = share * smooth + (1 - share) * rng.standard_normal(layer.kernel) / 3
        beta = rng.uniform(0.5, 3.5, channels) if layer.relu else np.zeros(channels)
        values = (noise, np.ones(channels), beta, np.zeros(channels), np.ones(channels))
        named = zip(layer.variables, values, strict=True)
        weights |= {name: value.astype(np.float32) for name, value in named}
    return weights
