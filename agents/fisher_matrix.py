"""Products with a policy's Fisher matrix, the curvature of KL, without the matrix and without second derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FisherMatrix:
    """The Fisher matrix of N distributions over V tokens, which is the Hessian of their mean KL where that is 0.

    F v = Jᵀ (p ∘ J v) / N,   J the Jacobian of log p

    J v costs as much as a backward pass, and what Jᵀ makes of it as much again. To differentiate the gradient of KL
    once more, which gives the same, also goes through the second derivatives of every operation.

    Args:
        log_prob: log p with its graph, whose operations can be differentiated twice, shape (N, V).
        parameters: What J is with respect to, with P entries together; `log_prob` depends on each.

    Reference:
        Martens (2014), arXiv:1412.1193, sections 8 and 9.
    """

    def __init__(self, log_prob: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        self._log_prob, self._parameters = log_prob, parameters
        self._weights = log_prob.detach().exp() / len(log_prob)
        # Jᵀ u is linear in u, whatever u is, so that its derivative by u, weighted with v, is J v.
        self._point = torch.zeros_like(log_prob, requires_grad=True)
        self._pulled = torch.autograd.grad(log_prob, parameters, self._point, create_graph=True)

    def times(self, vector: Tensor, retain_graph: bool = True) -> Tensor:
        """Return F v.

        Args:
            vector: v, the parameters' parts one behind the other, shape (P,).
            retain_graph: Whether there will be another product.

        Returns:
            Shape (P,).
        """
        parts = vector.split([parameter.numel() for parameter in self._parameters])
        shaped = [part.view_as(parameter) for part, parameter in zip(parts, self._parameters, strict=True)]
        (pushed,) = torch.autograd.grad(self._pulled, self._point, shaped, retain_graph=retain_graph)  # (N, V)
        gradients = torch.autograd.grad(
            self._log_prob, self._parameters, self._weights * pushed, retain_graph=retain_graph
        )
        return torch.cat([gradient.flatten() for gradient in gradients])
