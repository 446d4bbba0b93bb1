"""Networks: z, time and condition in; a prediction out."""

from .attention import SpatialAttention, TemporalAttention
from .autoencoder import Autoencoder, PixelSpace
from .autoencoder_triplane import TriplaneAutoencoder
from .blocks import FrameNorm, ResBlock
from .embeddings import TimeEmbedding
from .timesformer import TimeSformer
from .unet3d import UNet3D
from .unet3d_port import UNet3DPort
from .unet_triplane import TriplaneUNet

__all__ = [
    "Autoencoder",
    "FrameNorm",
    "PixelSpace",
    "ResBlock",
    "SpatialAttention",
    "TemporalAttention",
    "TimeEmbedding",
    "TimeSformer",
    "TriplaneAutoencoder",
    "TriplaneUNet",
    "UNet3D",
    "UNet3DPort",
]
