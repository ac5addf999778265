"""Is a document as a JSON schema says? As much of JSON Schema as ours uses, and no more."""

from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties", "items",
    "const", "enum",
}  # fmt: skip


def faults(found: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """Return what is otherwise than the schema says, a line each."""
    assert set(schema) <= _KNOWN, f"{set(schema) - _KNOWN} are not looked at"
    if "$ref" in schema:
        return faults(found, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    boolean = isinstance(found, bool) and "boolean" not in kinds
    if kinds and (boolean or not any(isinstance(found, _TYPES[kind]) for kind in kinds)):
        return [f"{at} is {found!r}, no {kinds}"]
    said = []
    if "const" in schema and found != schema["const"]:
        said.append(f"{at} is {found!r}")
    if "enum" in schema and found not in schema["enum"]:
        said.append(f"{at} is {found!r}")
    if isinstance(found, dict):
        said += [
            f"{at}.{name} is absent" for name in schema.get("required", ()) if name not in found
        ]
        for name, one in schema.get("properties", {}).items():
            if name in found:
                said += faults(found[name], one, root, f"{at}.{name}")
    if isinstance(found, list) and "items" in schema:
        for number, one in enumerate(found):
            said += faults(one, schema["items"], root, f"{at}[{number}]")
    return said
