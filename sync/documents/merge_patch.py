"""JSON Merge Patch (RFC 7396): members are replaced one by one, null removes one, anything but an object replaces the whole."""


def merged(target: object, patch: object) -> object:
    """What the patch makes of the target; neither is changed. At most as deep as the JSON reader allows."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def undone(target: object, patch: object) -> object:
    """What the patch replaces in the target, as a patch that brings it back: null stands for a member that is not there. Members
    that are null themselves are lost on that way, for no merge patch can name them."""
    if not isinstance(patch, dict) or not isinstance(target, dict):
        return target
    return {name: undone(target[name], value) if name in target else None for name, value in patch.items()}
