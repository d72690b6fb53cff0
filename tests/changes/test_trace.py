"""The events of a training, and what differs between two."""

from __future__ import annotations

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel

from woof_lightning.changes.shared import build_net
from woof_lightning.changes.trace import Trace, differences, in_one_order

IMAGES = torch.ones(2, 3, 16, 16)


def test_a_step_is_recorded_event_by_event() -> None:
    steps: list[int] = []
    trace = Trace(steps.append)
    with trace.recording():
        net = build_net()
        average = AveragedModel(net)
        optimizer = SGD(net.parameters(), lr=0.1)
        scheduler = StepLR(optimizer, 1)
        for _ in range(2):
            loss = net(IMAGES).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(net)
        scheduler.step()
        net.eval()
        with torch.no_grad():
            net(IMAGES)
        net(IMAGES)
        net.train()
        with torch.no_grad():
            net(IMAGES)
    step = ["forward", "zero", "backward", "clip", "step", "average"]
    assert trace.events[: 2 * len(step) + 1] == [*step, *step, "schedule"]
    assert trace.events[2 * len(step) + 1 :] == ["evaluate", "forward in eval mode", "forward without gradient"]
    assert (steps, trace.steps) == ([1, 2], 2)


def test_nothing_is_recorded_after_the_block() -> None:
    before = (torch.autograd.backward, StepLR.step, torch.nn.utils.clip_grad_norm_)
    trace = Trace()
    with trace.recording():
        pass
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1)
    torch.autograd.backward(net(IMAGES).sum())
    optimizer.step()
    assert trace.events == []
    assert (torch.autograd.backward, StepLR.step, torch.nn.utils.clip_grad_norm_) == before


def test_gradients_may_be_emptied_anywhere_between_a_step_and_the_next_backward_pass() -> None:
    before_forward = ["zero", "forward", "backward", "step", "zero", "forward", "backward", "step"]
    after_step = ["forward", "backward", "step", "zero", "zero", "forward", "backward", "step", "zero"]
    assert in_one_order(before_forward) == in_one_order(after_step)
    assert in_one_order(before_forward) == ["forward", "backward", "step", "forward", "zero", "backward", "step"]
    never = ["forward", "backward", "step", "forward", "backward", "step"]
    assert differences(never, before_forward) == ["-zero"]


def test_each_difference_is_told_once() -> None:
    reference = ["forward", "backward", "step", "schedule", "evaluate"] * 3
    later = ["forward", "backward", "step", "evaluate", "schedule"] * 3
    assert set(differences(later, reference)) <= {"+schedule", "-schedule", "+evaluate", "-evaluate"}
    assert differences(["evaluate", *reference], reference) == ["+evaluate"]
    assert differences(reference, reference) == []
