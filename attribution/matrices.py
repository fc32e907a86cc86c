"""Matrices (out, in), whole or as factors left (rank, out), right (rank, in), whose product leftᵀ right they are."""

from collections.abc import Sequence

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Matrix = Tensor | Pair


def dense(matrix: Matrix) -> Tensor:
    """The matrix itself, where it is given as factors."""
    return matrix if isinstance(matrix, Tensor) else matrix[0].mT @ matrix[1]


def summed(matrices: Sequence[Matrix]) -> Matrix:
    """The sum of matrices of one shape; of factors, where all are factors."""
    pairs = [matrix for matrix in matrices if not isinstance(matrix, Tensor)]
    if len(pairs) == len(matrices):
        return torch.cat([left for left, _ in pairs]), torch.cat([right for _, right in pairs])
    return torch.stack([dense(matrix) for matrix in matrices]).sum(dim=0)


def inner(one: Matrix, other: Matrix) -> float:
    """The inner product of two matrices."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return float(torch.vdot(dense(one).flatten(), dense(other).flatten()))
    return float(((one[0] @ other[0].mT) * (one[1] @ other[1].mT)).sum())
