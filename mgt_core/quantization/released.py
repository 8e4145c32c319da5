"""What the list of layers holds that the authors of SCQ published with their code (src/train_function.py, scale_list).

It ranks 358 of Meissonic's 373 linear layers, and takes int8 inputs for the first 119. Those below stand nowhere in it,
for no reason that shows; several are of kinds that rank low, so that they would have been among a third of all.
"""

# What tells a network of Meissonic's depth, 14 joint blocks and 28 single ones: layers in the last of them.
LAST_BLOCKS = ("transformer_blocks.13.*", "single_transformer_blocks.27.*")
UNLISTED = (
    "transformer_blocks.4.attn.to_k",
    "transformer_blocks.5.attn.to_q",
    "transformer_blocks.7.ff_context.net.0.proj",
    "transformer_blocks.7.norm1_context.linear",
    "transformer_blocks.8.attn.to_v",
    "transformer_blocks.8.norm1_context.linear",
    "transformer_blocks.11.norm1.linear",
    "transformer_blocks.11.norm1_context.linear",
    "transformer_blocks.12.ff_context.net.2",
    "transformer_blocks.12.norm1.linear",
    "transformer_blocks.13.norm1.linear",
    "single_transformer_blocks.1.attn.to_q",
    "single_transformer_blocks.6.norm.linear",
    "single_transformer_blocks.12.norm.linear",
    "single_transformer_blocks.15.norm.linear",
)
