"""YAML as people write it: 1e-3 is a number, which YAML 1.1 takes for text unless it has a point and a sign."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with YAML 1.2's floats, and an error where a key is given twice: it takes the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping, as long as its keys differ."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, known = key.start_mark.line + 1, (key.tag, key.value)
            if known in lines:
                raise yaml.YAMLError(f"the key {key.value!r} is given twice, in line {lines[known]} and in line {line}")
            lines[known] = line
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """Read a YAML document as plain data.

    >>> read_yaml("{learning_rate: 1e-3, name: 1e}")
    {'learning_rate': 0.001, 'name': '1e'}

    Raises:
        yaml.YAMLError: If it is none, or a mapping has a key twice.
    """
    return yaml.load(text, _Loader)
