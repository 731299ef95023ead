"""An image encoder run by OpenVINO: another compiler of the same network, for CPUs.

https://docs.openvino.ai/ , made in memory from the torch module, in float32 or bfloat16.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BackendError
from ..telemetry import quiet_openvino


class OpenVinoEncoder:
    """Called like the `encoder` that it was made from: (B, 3, S, S) to a tuple of tensors, float32, from any thread."""

    def __init__(self, encoder: nn.Module, side: int, dtype: torch.dtype) -> None:
        """Raises `BackendError` where OpenVINO is not installed. Takes seconds, and the weights' memory once more."""
        example = torch.zeros(1, 3, side, side)
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            with quiet_openvino() as openvino, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sizes taken for constants, which ours are
                network = openvino.convert_model(encoder, example_input=example, input=[list(example.shape)])
                self._network = openvino.Core().compile_model(network, "CPU", hints)
        except ImportError:
            raise BackendError('the openvino backend needs OpenVINO: pip install "samlabel[openvino]"') from None
        self._own = threading.local()

    def __call__(self, batch: Tensor) -> tuple[Tensor, ...]:
        request: Any = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._network.create_infer_request()
        found = []
        for image in torch.split(batch, 1):
            results = request.infer([image.contiguous().numpy()])
            # Copies, because OpenVINO uses its own again.
            found.append([torch.tensor(results[output]) for output in self._network.outputs])
        return tuple(torch.cat(outputs) for outputs in zip(*found, strict=True))
