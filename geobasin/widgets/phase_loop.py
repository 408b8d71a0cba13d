"""The live coupler of chapter 5: one tensor's phase-locked loop."""

from typing import ClassVar

import traitlets

from geobasin.figures.phase_loop import STEPS, follow_loop, phase_loop, toy_gradients
from geobasin.figures.style import Plate
from geobasin.widgets.base import LiveFigure, script, stylesheet


class PhaseLoopFigure(LiveFigure):
    """DCLR's coupler fed with gradients that agree with each other as much as the reader wishes.

    The gradients are those of :func:`geobasin.figures.phase_loop.toy_gradients`. Nothing they meet
    depends on the gain, so the loop is shown open: in training, longer steps change the agreement.

    Attributes:
        agreement: correlation of successive gradients, -1 (each flips its sign) to 1 (all equal).
        coupling: kappa, 0 to 1.
        memory: rho, 0.8 to 1.
        bound: H, 0 to 3.
        onset: first step with that agreement, 1 to 240; the steps before it are noise.
        seed: of the noise, 0 to 999.
        step: the step that is read, 1 to 240.
    """

    _esm: ClassVar[str] = script("curves.js", "phase_loop.js")
    _css: ClassVar[str] = stylesheet()

    agreement = traitlets.Float(0.0, min=-1.0, max=1.0).tag(sync=True)
    coupling = traitlets.Float(0.3, min=0.0, max=1.0).tag(sync=True)
    memory = traitlets.Float(0.99, min=0.8, max=1.0).tag(sync=True)
    bound = traitlets.Float(2.0, min=0.0, max=3.0).tag(sync=True)
    onset = traitlets.Int(1, min=1, max=STEPS).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=999).tag(sync=True)
    step = traitlets.Int(STEPS // 2, min=1, max=STEPS).tag(sync=True)

    def still(self) -> Plate:
        """The loop at the present settings.

        Returns:
            A drawing without the controls.
        """
        rows = toy_gradients(self.agreement, self.onset, self.seed)
        return phase_loop(follow_loop(rows, self.coupling, self.memory, self.bound), self.bound)
