"""What fitting and judging a model needs: labels, weights, splits, metrics, chance, calibration, novelty.

Arrays in, arrays out: float64 and int64, times in ms UTC of closes. Nothing here knows a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
