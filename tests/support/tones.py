"""What a stand-in for MAGNeT makes, and sounds to give it."""

import torch

RATE, HOP, BOOKS, FRAMES = 1600, 32, 4, 50  # of the stand-in; a second


def tone(seconds: float = 0.5, rate: int = RATE, channels: int = 1, batch: int = 1, hertz: float = 100.0) -> dict:
    """AUDIO, a sine."""
    wave = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)
    return {"waveform": wave.expand(batch, channels, -1).clone(), "sample_rate": rate}
