"""One YAML file as plain values with the line of every key, and every fault of its form.

Only the plain part of YAML 1.2 is read: no aliases, anchors, merge keys, tags, second documents or doubled keys, so
that a reader sees what is configured (`22:00` and `NO` stay text).
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from sendopt.config.secret_text import secret_in
from sendopt.domain.outside_text import printable, unprintable

Key: TypeAlias = str | int
KeyPath: TypeAlias = tuple[Key, ...]
YamlValue: TypeAlias = object  # a map (dict), a list (tuple), text, a number, a flag or None
YamlMap: TypeAlias = dict[Key, YamlValue]

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_CHARACTERS = 1_000  # of one key or one value
MAX_NUMBER, MIN_NUMBER = 1e15, 1e-15  # sizes outside which a number is a mistake; whole numbers below are exact
SHOWN_CHARACTERS = 60
THOUSANDS = re.compile(r"[1-9][0-9]{0,2}\.000")  # a thousand in some countries, one in others

# Part of the parser's message -> what to do about it; the first that fits is used.
REMEDIES = (
    ("'\\t'", "indent with spaces, not tabs"),
    ("another document", "one file holds one document: remove the `---`"),
    ("mapping values", "check the indentation here and above, and quote text that holds a colon and a space"),
    ("cannot start any token", "put the text in quotes"),
    ("end of stream", "close the quote"),
    ("stream end", "close the bracket"),
    ("", "check indentation, quotes and brackets around this line"),
)


@dataclass(frozen=True)
class Mark:
    """The place of a key: the file as people call it, and the line, from 1; line 0 is the file as a whole."""

    file: str
    line: int


@dataclass(frozen=True)
class Problem:
    """One fault of a file; `path` is empty where the file as a whole is meant."""

    mark: Mark
    path: KeyPath
    text: str

    def __str__(self) -> str:
        where = f"{self.mark.file}:{self.mark.line}" if self.mark.line else self.mark.file
        return printable(": ".join((where, *([dotted(self.path)] if self.path else []), self.text)))


class NumberText(str):
    """The text of a number that is larger or smaller than any setting may be."""


@dataclass
class Tree:
    """Values of a file (maps as dict, lists as tuple), with the mark of each key and list item by its path."""

    value: YamlMap = field(default_factory=dict)
    marks: dict[KeyPath, Mark] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark | None:
        """Return the mark of the path, or of the nearest map above it that the file holds; None where it holds none."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return None


def sentences(problems: Iterable[Problem]) -> tuple[str, ...]:
    """Return each problem once as a sentence, in the order of files and lines."""
    return tuple(dict.fromkeys(str(p) for p in sorted(problems, key=lambda p: (p.mark.file, p.mark.line, str(p)))))


def dotted(path: KeyPath) -> str:
    """Return the path as people write it, `caps.daily.max`; keys that hold a secret are not shown."""
    return ".".join("(not shown)" if secret_in(str(part)) else _cut(printable(str(part))) for part in path)


def shown(value: object) -> str:
    """Return a value as its author would recognise it: text in quotes, cut at 60 characters, maps and lists by name.

    A secret is not repeated, since messages end in logs. Characters that cannot be seen are escaped.

    >>> print(shown("22:00"), shown(None), shown((1, 2)), shown("password=hunter2"))
    "22:00" nothing a list text with a password or key (not shown)
    """
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    secret = secret_in(value)
    return f"text with {secret} (not shown)" if secret else printable(json.dumps(_cut(value), ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def read(path: Path, name: str) -> tuple[Tree | None, list[Problem]]:
    """Return the tree of one file, called `name` in messages, and its problems; no tree where it cannot be read."""
    text, problem = _text(path, name)
    if problem is not None:
        return None, [problem]
    return parse(text, name)


def parse(text: str, name: str) -> tuple[Tree | None, list[Problem]]:
    """Return the tree of a YAML text, called `name` in messages, and its problems; no tree where it cannot be read.

    >>> tree, _ = parse("caps:\\n  daily: {max: 2}", "growth.yaml")
    >>> tree.value, tree.mark(("caps", "daily", "max")).line
    ({'caps': {'daily': {'max': 2}}}, 2)
    >>> [str(problem) for problem in parse("caps: *daily", "growth.yaml")[1]]
    ['growth.yaml:1: aliases are not allowed; got *daily; write the value again']
    """
    try:
        problems = list(_forbidden(text, name))
        if problems:
            return None, problems
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        return None, [_syntax(error, text, name)]
    if root is None:
        return Tree(), []
    if not isinstance(root, MappingNode):
        line = root.start_mark.line + 1
        return None, [Problem(Mark(name, line), (), "not a map of sections; expected lines like `caps:` or `grid:`")]
    tree, problems = Tree(), []
    tree.value = _Builder(name, tree.marks, problems).mapping(root, ())
    return tree, problems


def _text(path: Path, name: str) -> tuple[str, Problem | None]:
    """Return the text of a file, and the problem where it is no text that can be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return "", Problem(Mark(name, 0), (), f"cannot be read: {error.strerror}")
    if len(raw) > MAX_BYTES:
        return "", Problem(Mark(name, 0), (), f"too large; got {len(raw)} bytes; expected at most {MAX_BYTES}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or raw[1:2] == b"\0":
        return "", Problem(Mark(name, 1), (), "UTF-16 text; save the file as UTF-8")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        return "", Problem(Mark(name, line), (), "not text, a byte of it is 0; give a YAML file, saved as UTF-8")
    try:
        return raw.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return "", Problem(Mark(name, line), (), "not UTF-8 text; save the file as UTF-8")


def _forbidden(text: str, name: str) -> Iterator[Problem]:
    """Yield what YAML allows and a configuration must not hold. Events are read before an alias can be expanded."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            line = next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith("%")), line)
            yield Problem(Mark(name, line), (), "directives like %YAML are not allowed; remove the line")
        if isinstance(event, AliasEvent):
            yield Problem(Mark(name, line), (), f"aliases are not allowed; got *{event.anchor}; write the value again")
        elif isinstance(event, NodeEvent) and event.anchor:
            yield Problem(Mark(name, line), (), f"anchors are not allowed; got &{event.anchor}; remove it")
        if getattr(event, "tag", None):
            yield Problem(Mark(name, line), (), f"tags are not allowed; got {event.tag}; write the plain value")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            yield Problem(Mark(name, line), (), f"maps or lists nested deeper than {MAX_DEPTH}; flatten them")
            return


def _syntax(error: YAMLError, text: str, name: str) -> Problem:
    """Return the problem that the parser found, with a remedy."""
    if isinstance(error, ReaderError):
        line = text[: error.position].count("\n") + 1
        return Problem(Mark(name, line), (), "not valid YAML: a control character; remove it")
    what, mark = "", None
    if isinstance(error, MarkedYAMLError):
        what, mark = (error.problem or "").removeprefix("but "), error.problem_mark
        if error.context_mark is not None and ("end of stream" in what or "stream end" in what):
            mark = error.context_mark  # where the quote or bracket was opened, not the end of the file
    remedy = next(remedy for sign, remedy in REMEDIES if sign in what)
    return Problem(Mark(name, mark.line + 1 if mark else 0), (), f"not valid YAML: {what}; {remedy}")


class _Builder:
    """The builder of values from composed nodes; it fills `marks` and `problems`."""

    def __init__(self, name: str, marks: dict[KeyPath, Mark], problems: list[Problem]) -> None:
        self.name, self.marks, self.problems = name, marks, problems
        self.scalars = YAML(typ="safe", pure=True).constructor

    def mapping(self, node: MappingNode, path: KeyPath) -> YamlMap:
        """Return the values of a map, without entries whose key is faulty or repeated."""
        values: YamlMap = {}
        last: Key | None = None  # the entry before, where it is a number that a comma may have split
        number = ""
        for key_node, value_node in node.value:
            if last is not None and _is_cut_off(key_node, value_node):
                number = values[last] = f"{number},{key_node.value}"  # 3,0 is one text, which the schema then judges
                continue
            last = None
            mark = Mark(self.name, key_node.start_mark.line + 1)
            key = self._key(key_node, path, mark)
            if key is None:
                continue
            place = (*path, key)
            if key in values:
                first = self.marks[place].line
                self.problems.append(Problem(mark, place, f"written twice, first on line {first}; keep one"))
                continue
            self.marks[place] = mark
            values[key] = self._value(value_node, place)
            if node.flow_style and _is_number(value_node):
                last, number = key, value_node.value
        return values

    def _key(self, node: Node, path: KeyPath, mark: Mark) -> Key | None:
        """Return the key of an entry; None, and a problem, where it is none."""
        if isinstance(node, ScalarNode):
            if node.tag.endswith(":merge"):
                self.problems.append(Problem(mark, path, "merge keys (<<) are not allowed; write the values again"))
                return None
            key = self._scalar(node)
            if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
                return key if self._is_readable(str(key), "", mark, (*path, key)) else None
        written = node.value if isinstance(node, ScalarNode) else "a map or list"
        self.problems.append(Problem(mark, path, f"a key must be text; got {written or 'nothing'}; put it in quotes"))
        return None

    def _is_readable(self, text: str, keep: str, mark: Mark, path: KeyPath) -> bool:
        """Return True for a text that is short and wholly visible; else note a problem."""
        hidden = unprintable(text, keep)
        if len(text) > MAX_CHARACTERS:
            fault = f"too long; got {len(text):,} characters; expected at most {MAX_CHARACTERS:,}"
        elif hidden is not None:
            fault = f"holds a character that people cannot see, {hidden}; remove it"
        else:
            return True
        self.problems.append(Problem(mark, path, fault))
        return False

    def _value(self, node: Node, path: KeyPath) -> YamlValue:
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            if node.flow_style and _has_decimal_commas(node):
                pairs = zip(node.value[::2], node.value[1::2], strict=True)
                meant = ", ".join(f"{whole.value}.{part.value}" for whole, part in pairs)
                fault = f"a comma between digits parts two entries; the decimal sign is a point: [{meant}]"
                self.problems.append(Problem(self.marks[path], path, fault))
            for index, item in enumerate(node.value):
                self.marks[(*path, index)] = Mark(self.name, item.start_mark.line + 1)
            return tuple(self._value(item, (*path, index)) for index, item in enumerate(node.value))
        value = self._scalar(node)
        if _is_number(node) and THOUSANDS.fullmatch(node.value):
            thousands, units = node.value.replace(".", ""), node.value[:-3] + "0"
            fault = f"{node.value} is {units} here, and a thousand times as much to many; write {thousands} or {units}"
            self.problems.append(Problem(self.marks[path], path, fault))
        if isinstance(value, str) and not isinstance(value, NumberText):
            self._is_readable(value, "\t\n", self.marks[path], path)
        if isinstance(value, str) and "${" in value:
            self.problems.append(
                Problem(
                    self.marks[path],
                    path,
                    f"interpolation is not supported; got {shown(value)}; write the value itself "
                    "(secrets belong to the environment of the program that needs them)",
                )
            )
        return value

    def _scalar(self, node: ScalarNode) -> YamlValue:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float"):
            return self._number(node, kind)
        if kind == "bool":
            return node.value.lower() == "true"
        return None if kind == "null" else node.value  # dates stay text, as 22:00 and NO do

    def _number(self, node: ScalarNode, kind: str) -> YamlValue:
        """Return the number, or its text where it is larger or smaller than a setting may be; never a negative zero."""
        if len(node.value) > SHOWN_CHARACTERS:
            return NumberText(node.value)
        number = self.scalars.construct_yaml_int(node) if kind == "int" else self.scalars.construct_yaml_float(node)
        written_out = any(digit in node.value for digit in "0123456789")  # .inf and .nan are the schema's
        if written_out and number != 0 and not MIN_NUMBER <= abs(number) <= MAX_NUMBER:
            return NumberText(node.value)
        return number + 0


def _is_number(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag.rpartition(":")[2] in ("int", "float")


def _has_decimal_commas(node: SequenceNode) -> bool:
    """Return True for a list like `[0,5, 1,5]`: whole numbers, with a space after every second comma only."""
    items: list[Node] = node.value
    if len(items) < 4 or len(items) % 2 or not all(_is_number(item) and item.value.isdecimal() for item in items):
        return False
    tight = [after.start_mark.index - item.end_mark.index == 1 for item, after in itertools.pairwise(items)]
    return all(tight[::2]) and not any(tight[1::2])


def _is_cut_off(key: Node, value: Node) -> bool:
    """Return True for an entry of digits without a value in a map in braces, as the 0 of `{max_points: 3,0}` is."""
    digits = isinstance(key, ScalarNode) and key.value.isdecimal() and _is_number(key)
    return digits and isinstance(value, ScalarNode) and value.tag.endswith(":null") and not value.value
