"""Which ``$`` expressions of a config may be evaluated: a small subset of Python that cannot reach outside."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from monai.bundle import ReferenceResolver

from lesionlens.model.safety.names import call_problem, downloads, harmless_attribute

__all__ = ["expression_problem", "harmless_import", "idle_import", "is_import"]

#: Modules whose import has no effect, and whose attributes are judged one by one.
_MODULES = ("monai", "torch", "numpy", "np", "math")
_BUILTINS = frozenset(
    {"abs", "bool", "dict", "float", "int", "len", "list", "max", "min", "range", "round", "str", "sum", "tuple"}
)
#: Well-known packages that configs import for their data, training or pictures; what is allowed cannot use them.
_LIBRARIES = frozenset(
    {
        *("PIL", "cv2", "einops", "fire", "ignite", "itk", "matplotlib", "mlflow", "nibabel", "pandas", "pydicom"),
        *("scipy", "SimpleITK", "skimage", "sklearn", "tensorboard", "torchvision", "tqdm", "yaml"),
    }
)
#: Methods of what other parts of the config have made: moves between devices, and the set-up of a detector.
_METHODS = frozenset(
    {
        *("to", "cpu", "cuda", "mps", "eval", "float", "half", "double", "bfloat16", "items", "keys", "values", "get"),
        *("num_anchors_per_location", "set_target_keys", "set_box_selector_parameters", "set_box_coder_weights"),
        # What an image can be asked, and computes; nothing that moves its voxels.
        *("mean", "median", "std", "var", "min", "max", "sum", "abs", "clamp", "clip", "sqrt", "log", "log1p", "exp"),
        *("any", "all", "numel", "ndim", "dtype", "unsqueeze", "squeeze", "long", "bool", "argmax", "round", "item"),
        *("set_sliding_window_inferer", "set_regular_matcher", "set_atss_matcher", "transforms", "shape", "device"),
    }
)
_PLAIN = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Slice, ast.Load, ast.keyword),
    *(ast.BoolOp, ast.boolop, ast.Compare, ast.cmpop, ast.IfExp, ast.UnaryOp, ast.unaryop, ast.Starred),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
)
#: Larger numbers have no place in a config, and would let ``[0] * n`` take all memory.
_LARGEST = 1_000_000
_LONGEST = 4_000
_LONGEST_RANGE = 10_000


def is_import(text: str) -> bool:
    """Say whether MONAI would take an expression for an import."""
    try:
        body = ast.parse(text.removeprefix("$")).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(body) and isinstance(body[0], ast.Import | ast.ImportFrom)


def harmless_import(text: str) -> bool:
    """Say whether an import loads nothing but MONAI, torch, numpy or math themselves, under their own names."""
    body = ast.parse(text.removeprefix("$")).body
    if len(body) != 1 or not isinstance(body[0], ast.Import):
        return False
    return all(one.name in (*_MODULES, "torch.nn") and one.asname in (None, "np") for one in body[0].names)


def idle_import(text: str) -> bool:
    """Say whether an import is of Python's own modules or well-known packages alone: a config can do without it."""
    body = ast.parse(text.removeprefix("$")).body
    first = body[0]
    names = (
        [one.name for one in first.names] if isinstance(first, ast.Import) else [getattr(first, "module", None) or ""]
    )
    return len(body) == 1 and all(name.partition(".")[0] in sys.stdlib_module_names | _LIBRARIES for name in names)


def expression_problem(text: str) -> str | None:
    """Say why an expression must not be evaluated unseen, or return None.

    Parameters
    ----------
    text
        As in the config, with its ``$``; references are replaced by MONAI's own rule before it is parsed, so that what
        is judged is what would be evaluated.
    """
    names = ReferenceResolver.match_refs_pattern(text)
    code = ReferenceResolver.update_refs_pattern(text, dict.fromkeys(names)).removeprefix("$")
    if len(code) > _LONGEST:
        return f"it has {len(code)} characters; at most {_LONGEST} are judged"
    try:
        tree = ast.parse(code, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "it is no single expression"
    return next(_problems(tree.body, frozenset()), None)


def _problems(node: ast.AST, local: frozenset[str]) -> Iterator[str]:
    """Yield what is not allowed below a node; ``local`` are the arguments of lambdas around it."""
    if isinstance(node, ast.Name):
        if node.id not in local and node.id not in _BUILTINS and node.id not in _MODULES:
            yield f"the name {node.id}"
    elif isinstance(node, ast.Attribute):
        yield from _attribute_problems(node, local)
    elif isinstance(node, ast.Call):
        yield from _call_problems(node, local)
    elif isinstance(node, ast.Lambda):
        yield from _problems(node.body, local | {argument.arg for argument in node.args.args})
        if (
            len(node.args.args) < sum(1 for one in ast.walk(node.args) if isinstance(one, ast.arg))
            or node.args.defaults
        ):
            yield "a lambda with more than plain arguments"
    elif isinstance(node, ast.Subscript):
        if not _is_reference(node):
            yield from _each(node, local)
    elif isinstance(node, ast.BinOp):
        yield from _each(node, local)
        numbers = _is_number(node.left, local) and _is_number(node.right, local)
        if isinstance(node.op, ast.Mult | ast.Mod) and not numbers:  # of texts and lists they are as large as one likes
            yield "a product or remainder of what may be no numbers"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, int) and abs(node.value) > _LARGEST:
            yield f"the number {node.value}"
    elif isinstance(node, _PLAIN):
        yield from _each(node, local)
    else:
        yield f"{type(node).__name__.lower()} in an expression"


def _each(node: ast.AST, local: frozenset[str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr_context):
            yield from _problems(child, local)


def _attribute_problems(node: ast.Attribute, local: frozenset[str]) -> Iterator[str]:
    dotted = _dotted(node)
    if dotted is not None and dotted.partition(".")[0] in _MODULES:
        if not harmless_attribute(dotted) and (problem := call_problem(dotted)):
            yield problem
    elif node.attr not in _METHODS:
        yield f"the attribute {node.attr}"
    else:
        yield from _problems(node.value, local)


def _call_problems(node: ast.Call, local: frozenset[str]) -> Iterator[str]:
    dotted = _dotted(node.func)
    if dotted == "range" and not all(_is_short(one) for one in node.args):
        yield "a range that may be long"
    if dotted is not None and dotted.partition(".")[0] in _MODULES and not harmless_attribute(dotted):
        yield from _made_problems(dotted, node)
    else:
        yield from _problems(node.func, local)
    for child in (*node.args, *(one.value for one in node.keywords)):
        yield from _problems(child, local)


def _made_problems(name: str, node: ast.Call) -> Iterator[str]:
    """Yield what speaks against an expression that makes a network, transform or inferer."""
    arguments = {one.arg: _literal(one.value) for one in node.keywords if one.arg}
    if len(arguments) < len(node.keywords) or any(isinstance(one, ast.Starred) for one in node.args):
        yield f"{name} with arguments that are not written out"
    if problem := call_problem(name, arguments, positional=[_literal(one) for one in node.args]):
        yield problem
    elif any(argument not in arguments for argument in downloads(name)):
        yield f"{name} fetches weights unless told not to"


def _dotted(node: ast.AST) -> str | None:
    """Return a chain of attributes of a name as a dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (front := _dotted(node.value)) is not None:
        return f"{front}.{node.attr}"
    return None


def _is_reference(node: ast.AST) -> bool:
    """Recognise what MONAI writes for ``@name``."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == ReferenceResolver._vars
        and isinstance(node.slice, ast.Constant)
    )


def _is_number(node: ast.AST, local: frozenset[str]) -> bool:
    """Say whether a node can be nothing but a number."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand, local)
    if isinstance(node, ast.BinOp):
        return _is_number(node.left, local) and _is_number(node.right, local)
    if isinstance(node, ast.Name):  # what a transform hands to a lambda is an image, whose products have its size
        return node.id in local
    return isinstance(node, ast.Call) and _dotted(node.func) in ("len", "int", "float", "round", "abs")


def _is_short(node: ast.AST) -> bool:
    """Say whether the end of a range is written out and small."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= _LONGEST_RANGE


def _literal(node: ast.AST) -> object:
    """Return a constant's value; anything else counts as given."""
    return node.value if isinstance(node, ast.Constant) else "an expression"
