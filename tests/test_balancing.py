# SPDX-License-Identifier: Apache-2.0
"""Weights and gradients of tasks that share a backbone."""

import pytest
import torch
from torch import nn

from avkit.training.balancing import GradientSurgery, UncertaintyWeights


def test_uncertainty_finds_the_scale_of_each_loss():
    weights = UncertaintyWeights(["small", "large"])
    optimizer = torch.optim.Adam(weights.parameters(), lr=0.1)
    for step in range(400):
        task, loss = (("small", 0.1), ("large", 20.0))[step % 2]
        optimizer.zero_grad()
        weights(task, torch.tensor(loss)).backward()
        optimizer.step()
    # exp(-s) L + s is least at s = log L, where the weighted loss is 1
    assert weights.weights() == pytest.approx({"small": 10, "large": 0.05}, rel=0.1)


def step(surgery, task, gradient, parameter):
    parameter.grad = torch.tensor(gradient)
    opposed = surgery.operate(task, [parameter])
    return parameter.grad.tolist(), opposed


def test_what_opposes_another_task_is_taken_out():
    surgery, parameter = GradientSurgery(), nn.Parameter(torch.zeros(2))
    assert step(surgery, "a", [0.0, 2.0], parameter) == ([0, 2], 0)
    assert step(surgery, "b", [1.0, -1.0], parameter) == ([1, 0], 1)
    assert step(surgery, "a", [1.0, 1.0], parameter) == ([1, 1], 0)  # b's own gradient was (1, -1): at right angles
    assert step(surgery, "b", [-3.0, 3.0], parameter)[1] == 0  # its own last gradient is no opponent
    assert set(surgery.last) == {"a", "b"}


def test_parameters_without_gradient_stay_without():
    surgery = GradientSurgery()
    held, free = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    held.grad = torch.tensor([1.0, 0.0])
    surgery.operate("a", [free, held])
    held.grad = torch.tensor([-1.0, 1.0])
    assert surgery.operate("b", [free, held]) == 1
    assert free.grad is None
    assert held.grad.tolist() == [0, 1]
