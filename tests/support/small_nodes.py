"""Inputs of ComfyUI's own nodes of texts and numbers, and what they make of them."""

RESULTS = {
    "PrimitiveInt": ({"value": 3}, (3,)),
    "PrimitiveFloat": ({"value": 0.5}, (0.5,)),
    "PrimitiveString": ({"value": "a"}, ("a",)),
    "PrimitiveStringMultiline": ({"value": "a\nb"}, ("a\nb",)),
    "PrimitiveBoolean": ({"value": True}, (True,)),
    "SeedNode": ({"seed": 9}, (9,)),
    "StringConcatenate": ({"string_a": "a", "string_b": "b", "delimiter": ", "}, ("a, b",)),
    "StringReplace": ({"string": "a cat", "find": "cat", "replace": "dog"}, ("a dog",)),
    "StringSubstring": ({"string": "abcd", "start": 1, "end": -1}, ("bc",)),
    "StringTrim": ({"string": " a ", "mode": "Left"}, ("a ",)),
    "CaseConverter": ({"string": "a cat", "mode": "Title Case"}, ("A Cat",)),
    "StringLength": ({"string": "abc"}, (3,)),
    "StringContains": ({"string": "A Cat", "substring": "cat", "case_sensitive": False}, (True,)),
    "StringCompare": ({"string_a": "abc", "string_b": "AB", "mode": "Starts With", "case_sensitive": False}, (True,)),
    "ComfyNumberConvert": ({"value": "2.75"}, (2.75, 2)),
    "ComfySwitchNode": ({"switch": True, "on_false": 1, "on_true": 2}, (2,)),
    "PreviewAny": ({"source": {"a": [1]}}, ('{\n    "a": [\n        1\n    ]\n}',)),
}
