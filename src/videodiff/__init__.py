"""videodiff: train, sample and honestly compare video diffusion models.

Importing this package imports nothing else: ``videodiff --help`` must answer before torch would be loaded.
"""

__version__ = "0.1.0"
