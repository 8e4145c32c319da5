"""A bundle's tokenizer as each generation of transformers writes it, by whichever is installed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

LIST = "extra_special_tokens"
NEW = {"backend": "tokenizers", "is_local": True, "local_files_only": False, "tokenizer_class": "CLIPTokenizer"}
OLD = ("added_tokens_decoder", LIST)  # entries that transformers 5 does not write


def read(folder: Path) -> dict:
    return json.loads((folder / "tokenizer_config.json").read_text())


def with_settings(folder: Path, **changes) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(read(folder) | changes))


def one_file(folder: Path) -> None:
    """tokenizer.json and settings in their new form, as transformers 5 saves them."""
    from transformers import CLIPTokenizerFast

    CLIPTokenizerFast.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    kept = {name: value for name, value in read(folder).items() if name not in OLD}
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(kept | NEW))


def no_settings(folder: Path) -> None:
    """tokenizer.json and nothing else, as the library tokenizers saves it."""
    one_file(folder)
    (folder / "tokenizer_config.json").unlink()


def padded(folder: Path) -> None:
    """As a tokenizer is saved that was used before: with how it padded and cut."""
    one_file(folder)
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    held["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    held["padding"] = {"strategy": {"Fixed": 7}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    held["padding"] |= {"pad_type_id": 0, "pad_token": "!"}
    file.write_text(json.dumps(held))


def words_alone(folder: Path) -> None:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()


def fast(folder: Path) -> None:
    """As the fast class of transformers 4 saves it: both kinds of files."""
    before = shutil.copytree(folder, folder.with_name("before"))
    one_file(folder)
    shutil.copytree(before, folder, dirs_exist_ok=True)
    shutil.rmtree(before)


def by_the_installed(name: str) -> Callable[[Path], None]:
    """As a class of the installed transformers saves it."""

    def saved(folder: Path) -> None:
        import transformers

        words = getattr(transformers, name).from_pretrained(folder)
        shutil.rmtree(folder)
        words.save_pretrained(folder)

    return saved


FORMS: dict[str, Callable[[Path], None]] = {
    "one file": one_file,
    "one file without settings": no_settings,
    "one file that was used": padded,
    "words without settings": words_alone,
    "of a fast class": fast,
    **{name: by_the_installed(name) for name in ("CLIPTokenizer", "CLIPTokenizerFast", "AutoTokenizer")},
}
