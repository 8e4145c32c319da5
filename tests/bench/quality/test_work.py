"""Work of the quality bench: resumed and shared."""

from dataclasses import replace

import numpy as np
import pytest

import mgt_core
from bench.quality import work
from bench.quality.cases import VANILLA
from bench.quality.decoding import Case, decode
from bench.quality.prompts import prompts
from bench.quality.work import Extent, Store
from mgt_core import files
from recipe.judge.pictures import model_settings
from support.quality import SETTINGS, SMALL, fake


class TestWork:
    def test_a_case_that_is_kept_is_not_made_again(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(work, "decode", fake(seen))
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        only = {VANILLA, "linear schedule"}
        assert set(work.work(None, SETTINGS, SMALL, store, only=only)) == only  # in the plan's order
        assert seen == [(name, 3, seed) for name in (VANILLA, "linear schedule") for seed in (0, work.FAR)]
        store.path(Case("linear schedule")).unlink()  # as if it had been stopped there
        work.work(None, SETTINGS, SMALL, store, only=only)
        assert [name for name, *_ in seen[4:]] == ["linear schedule"] * 2
        work.work(None, SETTINGS, Extent(6, 6), store, only={VANILLA})
        assert seen[6:] == [(VANILLA, 6, 0), (VANILLA, 3, work.FAR)]
        assert len(store.read(Case(VANILLA), 3).images) == 3 and store.read(Case(VANILLA), 9) is None

    def test_other_settings_or_another_model_lie_elsewhere(self, tmp_path):
        folders = {
            Store(tmp_path, *told).folder
            for told in (("a", SETTINGS, SMALL), ("b", SETTINGS, SMALL), ("a", SETTINGS | {"steps": 3}, SMALL))
        }
        assert len(folders | {Store(tmp_path, "a", SETTINGS, replace(SMALL, start=3)).folder}) == 4

    @pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")
    def test_what_another_process_makes_is_left_to_it(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(work, "decode", fake(seen))
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        only = {VANILLA, "linear schedule"}
        with files.claimed(store.path(Case(VANILLA))) as mine:
            assert mine
            assert work.work(None, SETTINGS, SMALL, store, only=only) is None
            assert {name for name, *_ in seen} == {"linear schedule"}
        assert set(work.work(None, SETTINGS, SMALL, store, only=only)) == only

    def test_a_write_is_whole_or_not_at_all(self, tmp_path, monkeypatch):
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        monkeypatch.setattr(work.np, "savez_compressed", lambda stream, **_: stream.write(b"PK") and 1 / 0)
        pictures = work.Pictures(np.zeros((3, 2, 2, 3), np.uint8), np.zeros((0,)), np.zeros((3, 1)), 1, 2, 0.1)
        with pytest.raises(ZeroDivisionError):
            store.write(Case(VANILLA), pictures)
        assert store.read(Case(VANILLA), 3) is None

    def test_a_case_that_was_cut_is_made_again(self, tmp_path, monkeypatch, caplog):
        seen, only = [], {VANILLA}
        monkeypatch.setattr(work, "decode", fake(seen))
        store = Store(tmp_path, "model", SETTINGS, SMALL)
        work.work(None, SETTINGS, SMALL, store, only=only)
        file = store.path(Case(VANILLA))
        file.write_bytes(file.read_bytes()[:-30])
        left = file.with_name(f".{file.name}.12345678.part")
        left.touch()
        assert set(work.work(None, SETTINGS, SMALL, Store(tmp_path, "model", SETTINGS, SMALL), only=only)) == only
        assert [name for name, *_ in seen] == [VANILLA] * 4 and not left.exists()
        assert [line for line in caplog.messages if line.startswith(f"{file} cannot be read")]

    def test_pictures_have_the_seed_of_their_place(self, pipe):
        """Prompt i is the same picture whether the run begins with it or earlier, and another one with another seed."""
        settings = model_settings(pipe) | {"steps": 2}
        case, extent = Case(VANILLA), Extent(6, 6)
        whole = work.draw(pipe, case, settings, extent, 6)
        later = work.draw(pipe, case, settings, replace(extent, start=3), 3)
        assert (whole.tokens[3:] == later.tokens).all()
        assert whole.images.dtype == np.uint8 and (whole.images[:3] != whole.again).any((1, 2, 3)).all()
        assert (whole.calls, whole.passes) == (2, 4) and whole.seconds > 0

    def test_a_sampler_without_temperature_and_a_packed_network(self, pipe, caplog):
        settings = model_settings(pipe) | {"steps": 2}
        for case in (Case("halton", settings={"sampler": mgt_core.FixedOrder()}), Case("packed", scheme="w8a16")):
            assert decode(pipe, case, prompts(3), settings, 0).passes == 4
        assert "no meaning" not in caplog.text and pipe.model.quantization is None
