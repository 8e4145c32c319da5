"""Copies golden numbers into tests/golden without what no test compares with: tests/golden/README.md says why.

    PYTHONPATH=.:tests python tests/release/make_golden.py WHOLE     a whole tree, as the published code computed it

Nothing is rounded or cast: a tensor is copied as it is or not at all, and so is every other file. To take in a family,
copy it, find out which of its tensors the golden tests read, and leave the others out here.
"""

import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from safetensors.torch import load_file, save

from support.golden import OWN

FAMILIES = (
    *("maskgit", "meissonic", "kin/muddit", "kin/dimo", "kin/editmgt"),
    *("unified/dimoo", "unified/showo", "unified/mmada", "audio/magnet"),
)

FILES = (  # each with what proves the same
    "*/README.md",  # written for the tree here
    "*/manifest.json",  # of a whole tree
    "kin/muddit/*512*",  # the same network in other sizes; its runs are without guidance and of two prompts
    "kin/muddit/text.*",  # the text encoder and codec are of Meissonic's kinds
    "kin/muddit/vq.*",
    "kin/muddit/traces/i2t_1024_b2_question.*",
    "kin/dimo/base/text_encoder/*",  # conditions are recorded
    "kin/dimo/base/tokenizer/*",
    "maskgit/halton_tiny/proj1/model.pth",  # model.safetensors; tests write pickles of it themselves
    "maskgit/halton_tiny/trace_confidence_none_cosine.*",  # trace_confidence_linear, with guidance and noise besides
    "maskgit/openmuse_cb1024/*",  # openmuse_tiny, of which every layer is compared
    "maskgit/openmuse_tiny/pytorch_model.bin",  # pytorch_model.safetensors, likewise
    "maskgit/openmuse_tiny/trace_generate2_linear_t2.*",  # trace_generate2_cosine; schedules.json has the counts
    "maskgit/openmuse_tiny/trace_generate_sg_s2p5.*",  # trace_generate_sg_s1_hot; forward has the logits of this scale
    "meissonic/tiny_1024/traces/differential_b2_g3_t5.*",  # its run0; tiny_512 has both tricks on two prompts
    "meissonic/tiny_1024/traces/noise_b1_g9.*",  # noise_b2_g3_t5, of two prompts
    "kin/editmgt/editmgt_512/*",  # the 512 px layout, which Meissonic's own networks have
    "kin/editmgt/*editmgt_512.*",
    "kin/editmgt/traces/*_512_*",
    "kin/editmgt/traces/*_g6_*",  # edit_b2_g3_s1_t5, guided, of two pictures
    "meissonic/tiny_1024/traces/vanilla_b1_g9.*",  # vanilla_b2_g3_t5, of two prompts
    "meissonic/tiny_1024/traces/zsample_inv0_b1_g9_t6.*",  # zsample_differential_inv0 and zsample_inv1
    "meissonic/tiny_1024/traces/zsample_noise_inv0_b1_g9.*",  # tiny_512's
    "meissonic/tome/deep_*",  # tiny_1024_r0.5, whose six calls store matchings and take them up again as more blocks do
    "meissonic/tome/tiny_1024_r0.25.*",  # tiny_1024_r0.5
    "audio/magnet/codec_hf/*",  # compression_state_dict.bin, of the same codec; tests write it anew in this form
    "audio/magnet/traces/default_steps.*",  # prompt_nonoverlap and topk, of fewer steps; schedule.json has the counts
    "audio/magnet/traces/more_steps_stride1.*",  # prompt_stride1
    "audio/magnet/traces/nonoverlap.*",  # prompt_nonoverlap, the same without a prompt
    "audio/magnet/traces/null_text.*",  # conditioning has the null condition
    "audio/magnet/traces/span1.*",  # span1_stride1, which is the same arrangement
    "audio/magnet/traces/stride1*",  # prompt_stride1; nonoverlap_b2_prod is of two texts
    "unified/mmada/traces/t2i_[bln]*",  # Show-o's runs of two prompts, without guidance and of the line: one sampler
    "unified/dimoo/special_tokens.json",  # the tokenizer and the weights
    "unified/dimoo/traces/t2i_nocfg.*",  # the other runs
    "unified/dimoo/traces/t2i_rect.*",
    "unified/dimoo/traces/t2i_sq.*",
    "unified/dimoo/traces/t2i_tall_warm.*",
    "unified/dimoo/traces/outpaint.*",  # inpaint
    "unified/dimoo/traces/cache_default.*",  # cache_half_rect and cache_inpaint, of other settings
    "unified/dimoo/cache_forward.safetensors",  # the same, by the largest logit of every row
)

# Of a step: what goes into `guided_logits`, the draw before `x0`, and what lies between `confidence` and `tokens_out`.
STEP = """step*.cond_logits step*.uncond_logits step*.drawn step*.selected_probs step*.uniform step*.cut_off
    step*.timestep step*.pre_mask_tokens_sum step*.inference_steps_after"""

MUSE = """step*.cond_logits step*.uncond_logits step*.drawn step*.selected_probs step*.confidence step*.mask_len
    step*.masking attend attention_mask uncond_* final_input_ids image_*"""

TENSORS = {
    "meissonic/*/forward.safetensors": "*.img_ids *.txt_ids *.act.[!s]* *.act.single_transformer_blocks.[01]",
    "meissonic/*/traces/*": f"{STEP} cond.img_ids cond.txt_ids final.decoded_raw",
    "meissonic/*/traces/vanilla_*": "step*.probs",
    "meissonic/tiny_512/traces/vanilla_*": "final.image",  # tiny_1024 has pictures
    # Conditions and pictures are compared in the vanilla traces, which are of the same prompts and codecs.
    "meissonic/*/traces/[!v]*": "cond.* final.* step*.masking step*.temperature",
    # Of the way back the tokens are compared, and which of them it masks.
    "meissonic/*/traces/zsample_*": """step*.inv.guided_logits step*.inv.probs step*.inv.x0 step*.inv.confidence
        step*.inv.mask_len* step*.inv.max_probs step*.inv.model_timestep step*.inv.n_remask step*.inv.remask_idx
        step*.inv.topk_* step*.inv.unknown_map_before""",
    "meissonic/*/edit/*": f"""{STEP} step*.probs step*.masking step*.temperature cond.* final.* init.encoded_tokens
        init.noise_timestep init.starting_mask_ratio*""",
    "meissonic/tome/*_r*": "match*.[!r]* img_ids txt_ids",
    "meissonic/tome/matching.*": "*.dst_idx *.src_idx",
    # Cases of topk and topp are of the default's settings beside.
    "kin/dimo/one_step.*": "*.img_ids default.* half*.image no_*.image topp.image [!t]*.logits topk.logits",
    "kin/muddit/forward_1024.*": "*.img_ids [!t]* ts_* *.text_*",
    # Draws are made from the seed, and what lies between logits and tokens follows from both.
    "kin/muddit/traces/*": "*.exp_noise *.temperature *.timestep *.pooled step*.text_argmax cond.* final.image image",
    "kin/muddit/traces/t2i*": "*_logits",
    "kin/muddit/traces/i2t*": "step0[!0]*.text_logits",
    # The states are proven by the logits of traces, which begin with prompts.
    "kin/editmgt/text.*": "llm_hidden_states_m2",
    "kin/editmgt/forward_*": "sq.* rect.* weak.* *.img_ids *.reference_ids",
    "kin/editmgt/traces/*": """cond.img_ids reference_ids step*.drawn step*.model_timestep step*.temperature
        step*.timestep""",
    "kin/editmgt/traces/edit_b2_*": "final.image step*.cond_logits step*.uncond_logits",
    "kin/editmgt/local.*": "step.* map.logits scores.rescaled scores.upsampled",
    "maskgit/*/vq/expected.*": "encoder_out quantized",
    "maskgit/vqgan_tiny/expected.*": "distances soft_code quantized codebook_loss",
    "maskgit/halton_tiny/trace_*": "image mask_after confidence_f64 drawn order halton_order topk_probs",
    # A network is compared by the guided logits; a sampler is given both, and guides by itself.
    "maskgit/halton_tiny/trace_confidence_linear.*": "logits_cond logits_uncond",
    "maskgit/halton_tiny/trace_halton_*": "logits_cfg",
    # What layers give on the way, by which a slip is found in a whole tree, is proven by the last of them.
    "maskgit/openmuse_tiny/forward.*": "decoder_in.* *_layer_out.* embed guided_logits_s0",
    "maskgit/halton_tiny/proj?/forward.*": "block_in.* block_out.* attn_out.* last_norm_in",
    "maskgit/openmuse_tiny/trace_*": """base_logits toast_logits guided_logits drawn_ids sampled_ids selected_probs
        confidence uniform masking mask_len""",
    "maskgit/openmuse_tiny/train_corr*": """blank_logits blank_input_ids logits gen_logits proposal_probs num_substitute
        loss_corr_no_smoothing""",
    "maskgit/openmuse_tiny/train_corr_edge.*": "gt_tokens",
    "unified/showo/traces/*": MUSE,
    "unified/mmada/traces/*": MUSE,
    "unified/showo/magvit.*": "act.* *.z_q *.margin",
    "unified/showo/forward.*": "n16.* *.act.* *.attend",  # a run of two prompts is there, all masked
    "unified/mmada/forward.*": "n16.* *.attention_mask",
    "unified/showo/prompts.*": "attend",
    "unified/mmada/prompts.*": "attention_mask uncond_attention_mask",
    # Rows after the last block and codes' logits of other cases stand for the widest tables.
    "unified/dimoo/forward.*": """*.logits tall.* sq.uncond.* *.attn_norm *.ff_norm *.q_proj *.v_proj *.block0.ff_out
        *.block0.attn_out rect.uncond.*""",
    "audio/magnet/forward.*": "a.stage1.* a.stage0.layer* a.stage0.out_norm allmask.* b.stage0.*",
    "audio/magnet/traces/*": "cond_logits uncond_logits",
    "unified/dimoo/vq.*": "sq.* *.margin *.*_raw *.vis_u8 paint[013].*",
    "unified/dimoo/traces/*": "step*.cond_logits step*.uncond_logits step*.*_logits_all step*.conf step*.keep_n",
    "unified/dimoo/traces/t2i_*": "step*.guided_logits",
}


def left_out(name: str) -> list[str]:
    """Patterns of the tensors of a file that are not kept."""
    return [pattern for files, patterns in TENSORS.items() if fnmatch(name, files) for pattern in patterns.split()]


def trimmed(whole: Path) -> Iterator[tuple[str, bytes]]:
    """Names below a tree that are kept, and what each file then holds: its own bytes where nothing is left out."""
    for path in sorted(path for family in FAMILIES for path in (whole / family).rglob("*") if path.is_file()):
        name = path.relative_to(whole).as_posix()
        if any(fnmatch(name, pattern) for pattern in FILES):
            continue
        patterns = left_out(name) if path.suffix == ".safetensors" else []
        held = load_file(path) if patterns else {}
        kept = {key: value for key, value in held.items() if not any(fnmatch(key, pattern) for pattern in patterns)}
        yield name, path.read_bytes() if len(kept) == len(held) else save(kept)


def main() -> None:
    for name, content in trimmed(Path(sys.argv[1])):
        (OWN / name).parent.mkdir(parents=True, exist_ok=True)
        (OWN / name).write_bytes(content)


if __name__ == "__main__":
    main()
