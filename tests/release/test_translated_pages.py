"""Help pages in the other languages: complete, and at one with the English ones."""

import pytest

from support.help_pages import Page, check, faults, kind, path_of, titled
from support.locales import ENGLISH, languages
from support.node_runs import NODES
from support.pack import ROOT

OTHERS = [language for language in languages() if language != ENGLISH]


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("name", NODES)
def test_page_says_what_the_english_one_says(name, language):
    assert check(name, language) == [], f"mend {path_of(name, language).relative_to(ROOT)}"


# A page as it has to be, and what each of the faults does to it.
NAME = "MGTDecode"
ENGLISH_PAGE = Page(
    """# MGT Decode

Turns *all* tokens into `8` pixels of [MaskGIT](https://arxiv.org/abs/2202.04200), section 3.2.

![The node MGT Decode](images/MGTDecode.png)

## Inputs

- **tokens** – the tokens.
- **codec**, **tile_size** – the codec.

## Outputs

- **image** – 16 images of the run.
"""
)
GOOD = """# MGT 解码

把 *all* token 变为 `8` 像素，见 [MaskGIT](https://arxiv.org/abs/2202.04200) 第 3.2 节。

![节点 MGT 解码](images/MGTDecode.png)

## 输入

- **token（tokens）** – 这些 token。
- **编解码器（codec）**、**分块大小（tile_size）** – 编解码器。

## 输出

- **图像（image）** – 本次运行的 16 张图像。
"""
DAMAGES = {
    "no **token（tokens）**": ("token（tokens）", "token"),
    "no **分块大小（tile_size）**": ("分块大小（tile_size）", "大小（tile_size）"),
    "a paragraph where the English page has a heading 2: 输入": ("## 输入", "输入"),
    "9 lines where": ("- **图像", "本次运行的说明。\n\n- **图像"),
    "links and pictures differ: ['images/MGTDecode.png', 'images/decode.png']": ("images/MGTDecode", "images/decode"),
    "no `8`": ("`8`", "8"),
    "`9` is not in the English page": ("`8`", "`8` `9`"),
    "no *all*": ("*all*", "*全部*"),
    "no 3.2": ("3.2", "三"),
    "still in English: The node MGT Decode": ("节点 MGT 解码", "The node MGT Decode"),
    "still in English: - **token（tokens）** – the tokens": ("这些 token", "the tokens"),
    "put a space or punctuation beside **token（tokens）**": ("** – 这些", "**这些"),
    "a star too many": ("像素，", "像素*，"),
}


def test_a_good_page_has_no_faults():
    assert faults(ENGLISH_PAGE, Page(GOOD), NAME, "zh") == []
    assert GOOD.startswith(titled(NAME, "zh"))


@pytest.mark.parametrize("fault", DAMAGES)
def test_a_fault_is_found(fault):
    page = Page(GOOD.replace(*DAMAGES[fault]))
    found = faults(ENGLISH_PAGE, page, NAME, "zh")
    assert any(text.startswith(fault) for text in found), found


def test_a_list_in_a_code_block_is_code():
    assert kind("    - a line of a list that a node shows") == "code"
    assert kind("  - an item below another") != "code"
