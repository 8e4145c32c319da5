"""The benchmark, small: all figures under their names, and one sentence for what it cannot do."""

import json

import pytest
import torch

import mgt_core
from bench.speed import decode
from bench.speed.__main__ import main
from bench.speed.bundle import FULL, TINY, write_bundle
from bench.speed.roofline import Products, measure_roofline
from bench.speed.row_distance import measure_distance
from bench.speed.rows import APPROXIMATE, EXACT, ROWS, TECHNIQUES, choose_rows
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from support.device import HERE

WHOLE = (
    "guided_forward_tflop product_tflop_a_second guided_forward_bound_seconds guided_forward_seconds roofline_share "
    "text_seconds backbone_seconds_a_step head_seconds_a_step selection_seconds_a_step selection_share decode_seconds "
    "bfloat16_over_float32 bfloat16_over_float32_sampling"
).split()
ROW = "seconds_min seconds_median sampling_seconds_median images_per_second speed sampling_speed calls passes".split()
NEAR = "kl tokens_agree object_accuracy object_accuracy_change background_accuracy".split()


def test_tiny_writes_every_figure(tmp_path):
    out, table = tmp_path / "bench.json", tmp_path / "bench.md"
    main(
        [
            "--tiny",
            "--dtype",
            "float32",
            "--device",
            "cpu",
            "--only",
            "bfloat16",
            "merging",
            "--repeats",
            "1",
            "--steps",
            "2",
            "--batch",
            "1",
            "2",
            "--json",
            str(out),
            "--markdown",
            str(table),
        ]
    )
    report = json.loads(out.read_text())
    figures, measured = report["figures"], [EXACT, "bfloat16", "merging"]
    wanted = [*WHOLE, *(f"{name}@1.{figure}" for name in measured for figure in (*ROW, "later_steps_speed"))]
    wanted += [f"{EXACT}@2.{figure}" for figure in ROW]
    wanted += [f"{name}.{figure}" for name in measured for figure in NEAR]
    assert not [name for name in wanted if not isinstance(figures[name], (int, float))]
    assert f"merging@2.{ROW[0]}" not in figures
    assert figures[f"{EXACT}@1.calls"] == 2 and figures[f"{EXACT}@1.passes"] == 4
    assert figures[f"{EXACT}.kl"] == 0 and figures[f"{EXACT}.tokens_agree"] == 1
    assert 0 < figures["bfloat16.kl"] < figures["merging.kl"]
    assert report["hardware"]["threads"] == torch.get_num_threads() and report["hardware"]["cpu"]
    assert report["settings"]["dtype"] == "float32" and report["settings"]["size"] == TINY.pixels
    inside = figures["backbone_seconds_a_step"] + figures["head_seconds_a_step"] + figures["selection_seconds_a_step"]
    assert 2 * inside == pytest.approx(figures[f"{EXACT}@1.sampling_seconds_median"], rel=1e-6)
    text = table.read_text()
    assert "token merging 0.5" in text and "selection_share" in text and report["hardware"]["cpu"] in text


def test_decode_bench_tells_every_format(tmp_path, capsys):
    out = tmp_path / "decode.json"
    decode.main(["--tiny", "--size", "64", "--repeats", "1", "--device", "cpu", "--json", str(out)])
    codecs = json.loads(out.read_text())["codecs"]
    assert list(codecs) == ["built-in", "random, tiny"]
    for rows in codecs.values():
        assert list(rows) == ["float32", "TF32, rounded", "TF32, cut off", "bfloat16", "float16"]
        assert rows["TF32, rounded"]["psnr"] > rows["TF32, cut off"]["psnr"] > rows["bfloat16"]["psnr"] > 30
        assert all(("seconds" in row) != row["emulated"] for row in rows.values())
    assert codecs["built-in"]["TF32, cut off"]["psnr"] > 50
    assert "| built-in | bfloat16 | " in capsys.readouterr().out


def test_decode_bench_says_where_a_format_overflows():
    image, wanted = torch.tensor([float("nan"), 1.0]), torch.ones(2)
    row = {"psnr": decode.psnr(image, wanted), "emulated": True}
    assert row["psnr"] is None
    assert "not finite" in decode.markdown({"codecs": {"a": {"float16": row}}})


def test_roofline_counts_every_product(tmp_path):
    """Operations of a linear layer and an attention, from their shapes."""
    layer, x = torch.nn.Linear(48, 80), torch.randn(2, 10, 48)
    q, k = torch.randn(2, 3, 10, 16), torch.randn(2, 3, 12, 16)

    @torch.inference_mode()
    def evaluate():
        layer(x)
        torch.nn.functional.scaled_dot_product_attention(q, k, k)

    measured = measure_roofline(evaluate, torch.float32, torch.device("cpu"))
    assert measured.flops == 2 * 20 * 48 * 80 + 2 * 2 * 2 * 3 * 10 * 12 * 16
    assert sum(product["flops"] for product in measured.products) == measured.flops
    assert measured.bound_seconds > 0


def test_full_size_is_the_published_one():
    """1.007 G parameters, 2.95 TFLOP a guided forward at 1024 x 1024; nothing is allocated to count them."""
    products = Products()
    with torch.device("meta"), torch.inference_mode(), products.counting() as counter:
        network = MeissonicTransformer(MeissonicConfig.from_dict(FULL.transformer))
        condition = mgt_core.Condition(torch.zeros(2, 77, 1024), torch.zeros(2, 1024), torch.zeros(2, 5))
        tokens = torch.zeros(2, *network.trained_grid, dtype=torch.long)
        network.head(network.features(tokens, torch.zeros(1), network.prepare(condition, network.trained_grid)))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.007e9, rel=0.002)
    assert counter.get_total_flops() == pytest.approx(2.95e12, rel=0.005)
    assert sum(flops * count for (_, _, flops), count in products.counts.items()) == counter.get_total_flops()
    assert (network.mask_id, network.trained_grid) == (8255, (64, 64))


def test_random_weights_keep_activations_in_range(tmp_path):
    pipe = mgt_core.load(write_bundle(tmp_path / "bundle", TINY), **HERE)
    condition = pipe.text.encode("a cat", size=pipe.size)
    state = mgt_core.empty_tokens(pipe, *pipe.size)
    logits = pipe.model.logits(state.tokens, condition, 7)
    assert 0.2 < logits.std() < 5
    assert 0.2 < condition.hidden.std() < 10
    image = pipe.codec.decode(mgt_core.sample(pipe.model, state, condition, condition, steps=2, seed=0))
    assert image.std() > 0.01


def test_the_exact_path_is_at_no_distance():
    """Row by row on the states of the plain run; logits of every cell change nothing."""
    pipe = mgt_core.load("demo", **HERE)
    near = measure_distance(lambda dtype: pipe, [ROWS["every_cell"], ROWS["interval"]], 1, "float32", steps=3)["rows"]
    assert near["every_cell"]["kl"] < 1e-6 and near["every_cell"]["tokens_agree"] == 1
    assert near["interval"]["kl"] > 1e-4


def test_rows_name_known_techniques():
    assert set(APPROXIMATE) <= set(TECHNIQUES)
    for row in ROWS.values():
        assert set(row.parts) <= set(TECHNIQUES) and row.label
    assert choose_rows(None, reference=True)[:2] == ["reference", EXACT]
    assert choose_rows(["merging"], reference=False) == [EXACT, "merging"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--only", "mergin"], "row is 'mergin'; accepted are exact"),
        (["--only", "reference"], "needs --reference"),
        (["--reference", "."], "belong together"),
        (["--reference", "tests", "--python", "python3"], "holds no src/pipeline.py"),
        (["--steps", "1"], "--steps is 1"),
        (["--device", "gpu9"], "device is 'gpu9'"),
        (["--size", "50"], "50 pixels"),
    ],
)
def test_bad_arguments_give_one_sentence(arguments, words):
    with pytest.raises(SystemExit) as end:
        main(["--tiny", *arguments])
    assert words in str(end.value) and "\n" not in str(end.value)
