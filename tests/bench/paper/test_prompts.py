"""Prompts are read from where the user has them, and what is missing is named."""

import json

import pytest

from bench.paper.prompts import METADATA, STYLES, Prompt, read_prompts
from mgt_core import MGTError


@pytest.fixture
def folder(tmp_path):
    for style in STYLES:
        (tmp_path / f"{style}.json").write_text(json.dumps([f"{style} {place}" for place in range(5)]))
    lines = [
        {"tag": tag, "include": [{"class": "dog", "count": 1}], "prompt": f"{tag} {place}"}
        for tag in ("single_object", "counting")
        for place in range(3)
    ]
    (tmp_path / "prompts").mkdir()  # as in its repository
    (tmp_path / "prompts" / METADATA).write_text("\n".join(map(json.dumps, lines)) + "\n")
    return tmp_path


def test_styles_take_turns_and_a_larger_number_begins_as_a_smaller_one(folder):
    few, more = read_prompts("hpsv2:6", folder), read_prompts("hpsv2:20", folder)
    assert [prompt.text for prompt in few] == [f"{s} 0" for s in STYLES] + ["anime 1", "concept-art 1"]
    assert more[:6] == few and len(more) == 20 and read_prompts("hpsv2", folder) == more
    assert [sum(prompt.group == style for prompt in more) for style in STYLES] == [5] * 4


def test_tasks_of_geneval_take_turns_and_say_what_is_asked(folder):
    found = read_prompts("geneval:3", folder)
    assert [prompt.text for prompt in found] == ["single_object 0", "counting 0", "single_object 1"]
    assert found[1].asked["include"] == [{"class": "dog", "count": 1}] and found[1].group == "counting"


def test_files_of_ones_own(tmp_path):
    (tmp_path / "a.txt").write_text("a dog\n\n  a cat \n")
    (tmp_path / "b.json").write_text('["a dog", {"prompt": "a cat"}]')
    wanted = [Prompt("a dog"), Prompt("a cat")]
    assert read_prompts(str(tmp_path / "a.txt"), tmp_path) == wanted == read_prompts(f"{tmp_path}/b.json:2", tmp_path)
    assert read_prompts(f"{tmp_path}/a.txt:1", tmp_path) == wanted[:1]


@pytest.mark.parametrize(
    "wanted, words",
    [
        ("hpsv2:4", ("there is no anime.json in", "benchmark/anime.json", "zhwang/HPDv2", "--prompt-dir")),
        ("geneval:4", (METADATA, "github.com/djghosh13/geneval")),
        ("nowhere.txt:4", ("nowhere.txt cannot be read; accepted are hpsv2, geneval",)),
        ("FOLDER/few.txt:9", ("holds 1 prompts, and 9 were asked for",)),
        ("FOLDER/few.txt:0", ("and 0 were asked for",)),
        ("FOLDER/broken.json", ("broken.json are not valid JSON",)),
        ("FOLDER/other.json", ("other.json holds no list of prompts",)),
    ],
)
def test_what_is_missing_is_one_sentence(tmp_path, wanted, words):
    (tmp_path / "few.txt").write_text("a dog")
    (tmp_path / "broken.json").write_text("[")
    (tmp_path / "other.json").write_text('[{"text": "a dog"}]')
    with pytest.raises(MGTError) as error:
        read_prompts(wanted.replace("FOLDER", str(tmp_path)), tmp_path)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
