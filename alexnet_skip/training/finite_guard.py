"""Stop a training before it is spoilt: no optimizer step from a loss or gradient that is not finite."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alexnet_skip.system.errors import UserError

# A GPU's flag is read this often: reading makes the host wait for the device. Until then the device itself skips the
# optimizer's steps.
READ_STEPS = 16
# fp16's scaler begins at 65,536 and halves its scale at every infinite gradient. Below 1 it would mend what no scaling
# has spoilt: the gradients themselves are out of fp16's range.
LEAST_SCALE = 1.0


class NonFiniteLossError(UserError):
    """A loss or gradient became NaN or infinite; says where, at which learning rate and precision, and what to try."""


class FiniteGuard:
    """Watches the losses and gradients of one epoch.

    A loss that is not finite makes every gradient NaN, and gradients are averaged over processes: all of them see it at
    the same step. On a CPU it is seen before the optimizer's step. On a GPU a flag on the device makes the (fused)
    optimizer skip that step and all later ones, and the host reads the flag every ``READ_STEPS`` steps and before
    anything is saved. With fp16 an infinite gradient is daily business of the scaler, which skips the step by itself:
    there the loss counts, and a scale that has fallen below ``LEAST_SCALE`` because no step was taken any more.

    Attributes:
        grad_norm: of the last step, on the device; with fp16, whose gradients are scaled, NaN until it is measured.
    """

    def __init__(self, accelerator: Accelerator, optimizer: torch.optim.Optimizer) -> None:
        self._accelerator = accelerator
        self._optimizer: Any = getattr(optimizer, "optimizer", optimizer)  # without Accelerate's wrapper
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=accelerator.device)
        self._rates: dict[int, float] = {}
        self.grad_norm = torch.full((), math.nan, device=accelerator.device)

    def backward(self, loss: Tensor, factor: float) -> None:
        """Backpropagate ``factor`` times the loss; one that is not finite makes every gradient NaN."""
        # 0 · loss is 0, or NaN. The factor that it makes is exactly 1 for any finite loss.
        self._accelerator.backward(loss * (factor * (1 + 0 * loss.detach())))

    def before_step(self, loss: Tensor, parameters: Iterable[nn.Parameter], step: int, rate: float) -> None:
        """To be called between :meth:`backward` and the optimizer's step.

        Raises:
            NonFiniteLossError: on a CPU, if the loss or a gradient is not finite.
        """
        self._rates[step] = rate
        self._rates.pop(step - 2 * READ_STEPS, None)
        if self._accelerator.scaler is None:
            norms = [torch.linalg.vector_norm(p.grad.detach()) for p in parameters if p.grad is not None]
            self.grad_norm = torch.linalg.vector_norm(torch.stack(norms))
            good = self.grad_norm.isfinite()
        else:
            good = loss.detach().isfinite()
        unseen = (self._first_bad < 0) & ~good
        self._first_bad = torch.where(unseen, step, self._first_bad)
        if self._reads_each_step():
            self._raise_if_bad(int(self._first_bad), loss.detach())
        elif self._accelerator.scaler is None:
            self._optimizer.found_inf = (self._first_bad >= 0).float()

    def after_step(self, steps: int) -> None:
        """To be called after each step with the number of steps done; reads what is on the device when it is time to.

        Raises:
            NonFiniteLossError: on every process, if the loss or a gradient of any was not finite.
        """
        if self._reads_each_step() or steps % READ_STEPS == 0:
            self.read()

    def read(self) -> None:
        """Read a GPU's flag, and the scaler's scale; raises as :meth:`after_step`."""
        scaler = self._accelerator.scaler
        if not self._reads_each_step():
            self._read_flag()
        # The same on every process: it follows from gradients that are averaged over all.
        if scaler is not None and scaler.get_scale() < LEAST_SCALE:
            step, rate = list(self._rates.items())[-1]
            raise NonFiniteLossError(
                f"step {step + 1}: the gradients are infinite in fp16 however small their scale (down to "
                f"{scaler.get_scale():.3g}) at learning rate {rate:.3g}; no step has been taken since the scale began "
                "to fall. Try --mixed-precision no or a lower learning rate"
            )

    def _read_flag(self) -> None:
        first = self._first_bad
        if self._accelerator.scaler is not None and self._accelerator.num_processes > 1:
            first = self._accelerator.gather(first.reshape(1)).max()
        self._raise_if_bad(int(first))

    def _reads_each_step(self) -> bool:
        return self._accelerator.device.type == "cpu"

    def _raise_if_bad(self, step: int, loss: Tensor | None = None) -> None:
        if step < 0:
            return
        found = "" if loss is None else f" (loss {float(loss):.3g}, gradient norm {float(self.grad_norm):.3g})"
        precision = self._accelerator.mixed_precision
        advice = ("" if precision == "no" else "--mixed-precision no or ") + "a lower learning rate"
        raise NonFiniteLossError(
            f"step {step + 1}: the loss or its gradient is not finite{found} at learning rate "
            f"{self._rates.get(step, math.nan):.3g} and precision {precision}; the step was not taken. Try {advice}"
        )
