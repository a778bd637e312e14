"""What the hardware would allow: the rate of its matrix products, and of reading its memory, both measured."""

import time

import torch

from .inputs import Setting
from .measurement import finish_device_work

# (rows, inputs, outputs): square ones, and those of the networks measured here.
SHAPES = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (1024, 256, 1024), (1024, 256, 8192))
LARGE_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 4096))
SECONDS_A_SHAPE = 0.2


def has_bfloat16(device: str) -> bool:
    """Whether a device has instructions for matrix products in bfloat16, rather than emulates them."""
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def matrix_product_rate(device: str, dtype: torch.dtype) -> float:
    """Measure the floating-point operations a second of matrix products, the largest over several shapes."""
    shapes = SHAPES if device == "cpu" else SHAPES + LARGE_SHAPES
    return max(_rate_of_shape(shape, device, dtype) for shape in shapes)


def _rate_of_shape(shape: tuple[int, int, int], device: str, dtype: torch.dtype) -> float:
    rows, inputs, outputs = shape
    left = torch.randn(rows, inputs, device=device).to(dtype)
    right = torch.randn(inputs, outputs, device=device).to(dtype)
    result = left @ right
    finish_device_work()
    number = 0
    started = time.perf_counter()
    while time.perf_counter() - started < SECONDS_A_SHAPE:
        for _ in range(10 if device != "cpu" else 1):
            torch.mm(left, right, out=result)
            number += 1
        finish_device_work()
    return 2 * rows * inputs * outputs * number / (time.perf_counter() - started)


def reading_rate(device: str) -> float:
    """Measure the bytes a second at which a device reads its memory."""
    data = torch.ones(1 << 28, device=device)
    data.sum()
    finish_device_work()
    number = 10
    started = time.perf_counter()
    for _ in range(number):
        data.sum()
    finish_device_work()
    return number * data.nbytes / (time.perf_counter() - started)


def bandwidth_limit(setting: Setting) -> float:
    """Return the tokens a second of a decoder that reads weights and cache once a step, and does nothing else.

    In the setting's precision; the cache is as long as it is in the mean.
    """
    width = torch.finfo(getattr(torch, setting.precision)).bits // 8
    block = 12 * setting.n_embd**2
    weights = (setting.n_layer * block + setting.vocab_size * setting.n_embd) * width
    length = setting.prompt_tokens + setting.new_tokens / 2
    cache = setting.num_envs * length * setting.n_layer * 2 * setting.n_embd * width
    return setting.num_envs * reading_rate(setting.device) / (weights + cache)
