"""How much is measured: the quick and the full benchmark as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes and repeats; the defaults are the full benchmark's."""

    is_quick: bool = False
    #: Scans that are segmented: ``demo``, ``large tumour``.
    scans: tuple[str, ...] = ("demo", "large tumour")
    #: Repeats of whole segmentations, of the encoder and of the decoder.
    runs: int = 5
    encoder_repeats: int = 5
    decoder_repeats: int = 5
    #: Locations that the decoder is timed with; the published form gets a quarter.
    decoder_locations: int = 16384
    #: Lattice points along an axis in the growth of the analytic shapes, and the shapes.
    growth_sizes: tuple[int, ...] = (64, 128, 256, 512)
    growth_shapes: tuple[str, ...] = ("ball", "lobes", "pair")
    #: Chunk sizes of the memory plot.
    chunk_sizes: tuple[int, ...] = (2**10, 2**12, 2**14, 2**16)
    has_lits: bool = True
    peers: tuple[str, ...] = ("unet-3d", "monai")
    #: Seconds that one call may spend on exhaustive masks, the demo's first; what is missing is added by the next.
    exhaustive_s: float = 300.0


FULL = Plan()
QUICK = Plan(
    is_quick=True,
    scans=("demo",),
    runs=1,
    encoder_repeats=3,
    decoder_repeats=3,
    decoder_locations=8192,
    growth_sizes=(64, 128, 256),
    growth_shapes=("lobes",),
    chunk_sizes=(2**12, 2**14),
    has_lits=False,
    peers=("unet-3d",),
    exhaustive_s=15.0,
)

#: Locations a chunk at which memory is compared, as in the paper's Table 3.
MEMORY_CHUNK = 2**14
