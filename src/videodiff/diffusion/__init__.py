"""The maths of diffusion: schedules, losses, denoisers, guidance and samplers. Imports torch and the seeds only."""

from videodiff.diffusion.condition import Condition

__all__ = ["Condition"]
