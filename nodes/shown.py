"""Widgets that matter under some choices only: the front end shows them under these (web/js/shown_for.js).

A node class says so by SHOWN_FOR: {input: {another input: the values of it that need it}}. The node gets the hidden
value all the same, and workflows keep it where it was.
"""

from collections.abc import Mapping, Sequence

Rules = Mapping[str, Mapping[str, Sequence]]
OPTION = "mgt_shown_for"  # what the rule is called among the options of an input


def shows_by_choice(node: type) -> None:
    """Has a node class with SHOWN_FOR hand its rules to the front end. Raises KeyError when one is of no input."""
    rules: Rules = getattr(node, "SHOWN_FOR", {})
    if not rules:
        return
    declared = node.INPUT_TYPES

    def with_rules(cls: type) -> dict:
        groups = declared()
        for name, rule in rules.items():
            group = next((group for group in groups.values() if name in group), {})
            kind, options = group[name]
            group[name] = kind, {**options, OPTION: {choice: list(values) for choice, values in rule.items()}}
        return groups

    node.INPUT_TYPES = classmethod(with_rules)
