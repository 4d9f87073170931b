"""Special functions of lanes > 0, by Stirling's series eight further on: 12 digits and more.

References
----------
Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 6.1.40, 6.3.18, 6.4.12.
"""

import math
from typing import Any

from pmx_ray.kernels.compiling import inner
from pmx_ray.kernels.lanes import log, spread

_LOG_2_PI = math.log(2.0 * math.pi)


@inner
def log_gamma(z: Any) -> Any:
    """Return the logarithm of the gamma function."""
    product = z
    for i in range(1, 8):
        product = product * (z + float(i))
    far = z + 8.0
    r = 1.0 / (far * far)
    series = 1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))
    return (far - 0.5) * log(far) - far + 0.5 * _LOG_2_PI + series / far - log(product)


@inner
def digamma(z: Any) -> Any:
    """Return the derivative of log gamma."""
    below = spread(0.0)
    for i in range(8):
        below = below + 1.0 / (z + float(i))
    far = z + 8.0
    r = 1.0 / (far * far)
    series = r * (
        1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0)))
    )
    return log(far) - 0.5 / far - series - below


@inner
def trigamma(z: Any) -> Any:
    """Return the second derivative of log gamma."""
    below = spread(0.0)
    for i in range(8):
        term = 1.0 / (z + float(i))
        below = below + term * term
    far = z + 8.0
    r = 1.0 / (far * far)
    series = 1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * 5.0 / 66.0)))
    return 1.0 / far + 0.5 * r + series * r / far + below
