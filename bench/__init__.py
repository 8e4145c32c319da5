"""Figures: what the library costs, and what its choices do to pictures.

    python -m bench                             speed, a part and a technique at a time (bench.speed)
    python -m bench.speed.head                  the token head on masked cells alone
    python -m bench.speed.decode                number formats of the decode
    python -m bench.quality                     what each choice does to pictures
    python -m bench.laboratory                  what each choice does where the truth is known
    python -m bench.quantization                what quantization does to size and pictures
    python -m bench.quantization.second_calibration    what its second calibration is worth
    python -m bench.quantization.full_size      bytes and peak memory at full size
    python -m bench.self_guidance               Self-Guidance against vanilla at equal passes
    python -m bench.sweep SPEC.json --out DIR   prompts × settings × seeds
    python -m bench.paper --model FOLDER …      the paper's choices on published weights, by published judges
    python -m bench.device --json FILE          what the library does on a card, in a few minutes

What lies beside the folders is shared by them.
"""
