"""Networks: z, time and condition in; a prediction out."""

from .attention import SpatialAttention, TemporalAttention
from .autoencoder import Autoencoder, LatentScale, PixelSpace
from .autoencoder3d import Autoencoder3D
from .autoencoder_causal import CausalAutoencoder3D
from .autoencoder_image import ImageAutoencoder
from .autoencoder_kl import AutoencoderKL
from .autoencoder_triplane import TriplaneAutoencoder
from .blocks import FrameNorm, ResBlock
from .discriminator import PatchDiscriminator
from .dit import SpacetimeDiT
from .embeddings import TimeEmbedding
from .latents import ClipLatents, FrameLatents, Latents
from .network import Network, as_network
from .timesformer import TimeSformer
from .unet3d import UNet3D
from .unet3d_port import UNet3DPort
from .unet_triplane import TriplaneUNet

__all__ = [
    "Autoencoder",
    "Autoencoder3D",
    "AutoencoderKL",
    "CausalAutoencoder3D",
    "ClipLatents",
    "FrameLatents",
    "FrameNorm",
    "ImageAutoencoder",
    "LatentScale",
    "Latents",
    "Network",
    "PatchDiscriminator",
    "PixelSpace",
    "ResBlock",
    "SpacetimeDiT",
    "SpatialAttention",
    "TemporalAttention",
    "TimeEmbedding",
    "TimeSformer",
    "TriplaneAutoencoder",
    "TriplaneUNet",
    "UNet3D",
    "UNet3DPort",
    "as_network",
]
