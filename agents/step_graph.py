"""A decoding step as a CUDA graph, whose memory serves all graphs of one policy in turn."""

from collections.abc import Callable, Hashable
from typing import Self
from weakref import WeakKeyDictionary

import torch
from torch import nn


class StepGraph:
    """What a step does on a CUDA device, recorded once and replayed.

    `torch.cuda.graph` first gives back all memory that PyTorch holds and does not use, which an update then has to ask
    for again, in every iteration. A graph takes over the stream and the memory of an earlier one instead: what a step
    puts there is of no use after it, so that also two graphs that are replayed in turn can have it.

    Args:
        device: The CUDA device.
        step: Works on tensors that are always the same ones. It is run once before it is recorded, unless a graph of
            such a step was recorded before.
        kind: What steps have alike that run the same kernels on the same shapes; None for a step unlike any other.
        memory: Bytes that it may need besides these.
        earlier: A graph of the same device, or None.
    """

    def __init__(
        self,
        device: torch.device,
        step: Callable[[], None],
        kind: Hashable,
        memory: int,
        earlier: "StepGraph | None",
    ) -> None:
        self.device, self.kind = device, kind
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            # Memory is taken over only on the same stream.
            self._stream: torch.cuda.Stream = torch.cuda.Stream() if earlier is None else earlier._stream
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                # At first use libraries make handles and workspaces, and kernels are loaded or compiled, which may not
                # be captured. One step does all of it, since each runs the same kernels on the same shapes.
                if earlier is None or kind is None or earlier.kind != kind:
                    step()
                if torch.cuda.mem_get_info()[0] < memory:
                    torch.cuda.empty_cache()
                if earlier is None:
                    self._graph.capture_begin()
                else:
                    self._graph.capture_begin(earlier._graph.pool())
                try:
                    step()
                finally:
                    self._graph.capture_end()
            torch.cuda.current_stream().wait_stream(self._stream)

    @classmethod
    def of(cls, policy: nn.Module, device: torch.device, step: Callable[[], None], kind: Hashable, memory: int) -> Self:
        """Record a step of a policy, in the memory of the policy's last graph."""
        earlier = _last_graphs.get(policy)
        graph = cls(device, step, kind, memory, earlier if earlier is not None and earlier.device == device else None)
        _last_graphs[policy] = graph
        return graph

    def replay(self) -> None:
        """Do the step again."""
        with torch.cuda.device(self.device):
            self._graph.replay()


# They live as long as the policies.
_last_graphs: "WeakKeyDictionary[nn.Module, StepGraph]" = WeakKeyDictionary()
