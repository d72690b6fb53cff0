"""pina's PINN on a Poisson equation, as its tutorial trains it; a script."""

from __future__ import annotations

from tempfile import mkdtemp

from pina import Trainer
from pina.model import FeedForward
from pina.problem.zoo import Poisson2DSquareProblem
from pina.solver import PINN

problem = Poisson2DSquareProblem()
problem.discretise_domain(20, "grid", domains=list(problem.domains))
model = FeedForward(input_dimensions=2, output_dimensions=1, layers=[32, 32])
Trainer(PINN(problem, model), max_epochs=1000, accelerator="cpu", default_root_dir=mkdtemp()).train()
