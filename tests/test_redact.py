"""Secrets taken out of texts and values, and nothing else changed."""

from __future__ import annotations

import ast
import copy
import json
import re
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_taskflow.errors import ConfigurationError
from fastapi_taskflow.redact import DEFAULT_KEYS, Redactor

GONE = "[redacted]"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


# Keys in text: "*" stands for what is secret.


@pytest.mark.parametrize(
    "form",
    [
        "password=*",
        "password=* user=bob",
        "password: *",
        "password: *, user: bob",
        "password = *",
        "password == *",
        "password=>*",
        "PassWord=*",
        "login(user=bob, password=*)",
        "login(password=*, user=bob)",
        "login(password=*,user=bob)",
        "Server=db;Password=*;User=bob",
        "{password: *, user: bob}",
        '{"password": "*", "user": "bob"}',
        '{"password":"*","user":"bob"}',
        "{'password': '*', 'user': 'bob'}",
        "{b'password': b'*'}",
        r"{\"password\": \"*\", \"user\": \"bob\"}",
        r"{\\\"password\\\": \\\"*\\\", \\\"user\\\": \\\"bob\\\"}",
        r"{\"query\": \"token=*\", \"user\": \"bob\"}",
        "password='*' user='bob'",
        "'password'\n: '*'",
        'headers["Authorization"] = "*"',
        "https://example.com/?token=*",
        "https://example.com/?token=*&user=bob",
        "https://example.com/?user=bob&token=*#top",
        '"GET /?token=*" 200',
        "Authorization: *",
        "authorization=*",
        "Proxy-Authorization: *",
        "X-API-Key: *",
        "x_api_key: *",
        "api key: *",
        "apiKey=*",
        "apikey=*",
        "--password=*",
        "db.password=*",
        "Cookie: *",
        "postgresql://bob:*@db.example.com/shop",
        "redis://:*@cache:6379",
        "('password', '*')",
        "[('user', 'bob'), ('password', '*')]",
        "[(b'Set-Cookie', b'*'), (b'Authorization', b'*'), (b'Host', b'a')]",
        '["authorization", "*"]',
        '["authorization","*"]',
        '[\n  "authorization",\n  "*"\n]',
        '(\n    "token",\n    "*",\n)',
        "('token', \"*\")",
        r"[[\"token\", \"*\"], [\"user\", \"bob\"]]",
        r"(\'token\', \"*\")",
        "('token', '*",
        "[('token', '*'), 'token', 'bob']",
        "Command '['login', '--password', '*', '--user', 'bob']' returned non-zero exit status 1.",
        '["login", "-token", "*"]',
        "--password=* --user=bob",
        'password: str = "*"',
        "password: str='*'",
        "(user: str, password: str | None = '*', n: int = 1)",
        "password: t.Optional[str] = *, user",
        'password="""*""" user="""bob"""',
        "password = '''*'''",
        r"password: \"\"\"*\"\"\", \"user\"",
        'password="""*',
        "<password>*</password><user>bob</user>",
        '<ns:Password type="text">*</ns:Password>',
        "<token><![CDATA[*]]></token>",
    ],
)
def test_the_value_of_a_key_in_text_is_redacted_and_nothing_else(
    redactor: Redactor, form: str
) -> None:
    text = redactor.text(form.replace("*", "hunter2"))

    assert text == form.replace("*", GONE) or text == form.replace("*#top", GONE)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.def", "Authorization: *"),
        ("Authorization: Bearer abc.def was sent", "Authorization: * was sent"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': '*'}"),
        ("token: Basic YTpi", "token: *"),
        ('Authorization: Digest username="bob", response="6629"', "Authorization: *"),
        ("Cookie: sid=abc; theme=dark", "Cookie: *"),
        ("Set-Cookie: sid=abc; Path=/; Secure", "Set-Cookie: *; Secure"),
        ('{"password": 1234, "n": 1}', '{"password": "*", "n": 1}'),
        ("{'password': None}", "{'password': '*'}"),
        ("{'secret': ['a', {'b': ')'}], 'n': 1}", "{'secret': '*', 'n': 1}"),
        ("Login(password=SecretStr('a b'), n=1)", "Login(password=*, n=1)"),
        ("token=<Token a b>", "token=*"),
        (r"'password': 'it\'s', 'n': 1", "'password': '*', 'n': 1"),
        (r'"password": "a\\", "n": 1', '"password": "*", "n": 1'),
        (r'"{\"password\": \"a\\\"b\", \"n\": 1}"', r'"{\"password\": \"*\", \"n\": 1}"'),
        (r'"{\"password\": \"a\\\\\", \"n\": 1}"', r'"{\"password\": \"*\", \"n\": 1}"'),
        ('password="a\nb" n=1', 'password="*" n=1'),
        ("password='never closed", "password='*"),
        ("password=[never, closed", "password=*"),
        ("password=a,b;c&d)e n=1", "password=* n=1"),
        ("password: Secret = 'a b', n=1", "password: * = '*', n=1"),
        ("password: Annotated[str, Field(min=3)] = 'a b'", "password: * = '*'"),
        ("password = a = b, n=1", "password = * = *, n=1"),
        ("('cookie', 'a=\"b\"; c=d')", "('cookie', '*')"),
        ("('cookie', 'token=a; b=c')", "('cookie', '*')"),
        ('password="""a "b"\nc""" n=1', 'password="""*""" n=1'),
        ("<token>\n a\n b\n</token>", "<token>*</token>"),
        ("<token><![CDATA[a<b]]c]]></token>", "<token><![CDATA[*]]></token>"),
        ("<token>\n<![CDATA[never closed </token>", "<token>\n<![CDATA[*"),
    ],
)
def test_a_value_is_redacted_to_its_end(redactor: Redactor, text: str, redacted: str) -> None:
    assert redactor.text(text) == redacted.replace("*", GONE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "password",
        "password=",
        "password= & next",
        "the password is unknown",
        "passwords=3",
        "my_password=3",
        "my-password=3",
        "password_hint=cat",
        "Invalid token:\nTraceback (most recent call last):",
        "12:30:00 n=1 http://example.com:80/?a=b",
        "http://example.com:80/bob@example.com",
        "fields: ['password', 'email', 'name']",
        "('token', 'a', 'b')",
        "('the token', 'a')",
        "('my_token', 'a')",
        "('token', 3)",
        "('token',)",
        "'token', 'a'",
        "one of ('password', '')",
        "['--password', '--user', 'bob']",
        "unrecognized arguments: --password, --token",
        'password="" user="bob"',
        "log in with <user> <password> </help>",
        "<password></password><token/><secret><user>bob</user></secret>",
    ],
)
def test_text_without_a_secret_is_the_same_object(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) is text


def test_without_keys_no_key_is_secret() -> None:
    text = "password=a token: b https://bob:c@example.com"

    assert Redactor(keys=()).text(text) is text
    assert Redactor(keys=()).value({"password": "a"}) == {"password": "a"}


@pytest.mark.parametrize("key", DEFAULT_KEYS)
def test_every_default_key_counts_in_text_and_in_mappings(redactor: Redactor, key: str) -> None:
    assert redactor.text(f"{key.upper()}=hunter2") == f"{key.upper()}={GONE}"
    assert redactor.value({key.replace("_", "-"): 1}) == {key.replace("_", "-"): GONE}


@pytest.mark.parametrize(
    "key", ["api_key", "API-Key", "api key", "apiKey", "APIKEY", b"api-key", " api_key "]
)
@pytest.mark.parametrize("name", ["api_key", "Api-Key", "api key", "apiKey"])
def test_spellings_of_a_key_are_alike(name: str, key: Any) -> None:
    assert Redactor(keys=[name]).value({key: "x"}) == {key: GONE}


def test_the_guide_names_every_default_key() -> None:
    guide = Path(__file__).parents[1] / "docs" / "guides" / "redaction.md"
    (listed,) = re.findall(r"The default `keys` are\n(.*?)\.\n", guide.read_text(), re.DOTALL)

    assert set(re.findall(r"`(\w+)`", listed)) == set(DEFAULT_KEYS)


# Patterns and secrets.


@pytest.mark.parametrize(
    ("pattern", "redacted"),
    [
        ("sk-[a-z0-9]+", "id * of user bob 42"),
        (re.compile("SK-[A-Z0-9]+", re.IGNORECASE), "id * of user bob 42"),
        ("user (\\w+) (\\d+)", "id sk-1a of user * *"),
        ("(sk-)?1a|(never)", "id *1a of user bob 42"),
        ("(never)|42", "id sk-1a of user bob *"),
        ("u((s)er)", "id sk-1a of u* bob 42"),
        ("(?<=2)x*$|bob", "id sk-1a of user * 42"),
    ],
    ids=[
        "text",
        "compiled",
        "groups",
        "optional group",
        "no group",
        "nested groups",
        "nothing too",
    ],
)
def test_what_a_pattern_matches_is_redacted(pattern: Any, redacted: str) -> None:
    text = Redactor(patterns=[pattern]).text("id sk-1a of user bob 42")

    assert text == redacted.replace("*", GONE)


def lowered(text: str) -> str:
    """The text with the escapes of a URL in lower case."""
    return re.sub("%..", lambda escape: escape[0].lower(), text)


@pytest.mark.parametrize(
    "secret", ["hunter2", "p@ss w/rd&", "q\"uo'te", "back\\slash", "lines\nof\ttext", "naïve✓"]
)
@pytest.mark.parametrize(
    "form",
    [
        lambda secret: secret,
        lambda secret: f"x{secret}x{secret}",
        lambda secret: repr([secret]),
        lambda secret: repr({secret: "'"}),
        lambda secret: repr(f"{secret}'"),
        lambda secret: repr(secret.encode()),
        lambda secret: json.dumps({"x": secret}),
        lambda secret: json.dumps({"x": secret}, ensure_ascii=False),
        quote,
        lambda secret: urlencode({"x": secret}),
        lambda secret: lowered(quote(secret)),
        lambda secret: lowered(quote(secret, safe="")),
        lambda secret: lowered(urlencode({"x": secret})),
    ],
    ids=[
        "plain",
        "twice",
        "list",
        "key",
        "quote",
        "bytes",
        "json",
        "utf-8 json",
        "path",
        "query",
        "lower-case path",
        "lower-case part of a path",
        "lower-case query",
    ],
)
def test_a_secret_is_redacted_in_every_form(secret: str, form: Callable[[str], str]) -> None:
    redacted = Redactor(keys=(), secrets=[secret]).text(form(secret))

    marks = "\"'[]{}\\"  # which quotes repr() takes depends on the text
    assert GONE in redacted
    assert redacted.replace(GONE, "").strip(marks) == form("").strip(marks)


def test_the_longest_of_secrets_within_each_other_goes_as_one() -> None:
    redactor = Redactor(secrets=["hunter", "hunter2000", "2000 more"])

    assert redactor.text("a hunter2000 more b hunter") == f"a {GONE} b {GONE}"


def test_a_secret_counts_as_soon_as_it_is_registered() -> None:
    redactor = Redactor()
    assert redactor.text("it is hunter2") == "it is hunter2"

    redactor.register("hunter2", "swordfish")

    assert redactor.text("it is hunter2 or swordfish") == f"it is {GONE} or {GONE}"


def test_secrets_registered_in_many_threads_all_count() -> None:
    redactor = Redactor()
    secrets = [f"secret-{number:03}" for number in range(200)]
    start = threading.Barrier(8)

    def register(own: list[str]) -> None:
        start.wait()
        for secret in own:
            redactor.register(secret)

    threads = [threading.Thread(target=register, args=(secrets[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [redactor.text(secret) for secret in secrets] == [GONE] * 200


@pytest.mark.parametrize("replacement", ["[redacted]", "***", "<not shown>", "token=x"])
def test_to_redact_twice_changes_nothing(replacement: str) -> None:
    redactor = Redactor(
        patterns=["red[a-z]+", "sk-\\w+"], secrets=["acted"], replacement=replacement
    )
    once = redactor.text("password=a 'token': 'b' \"secret\": 3 cookie: c=d; e=f sk-1 acted")

    assert redactor.text(once) == once
    assert redactor.value({"password": once, "a": once}) == {"password": replacement, "a": once}


@pytest.mark.parametrize(
    "options",
    [
        {"secrets": [""]},
        {"secrets": ["   \n  "]},
        {"secrets": ["abc"]},
        {"secrets": ["  abc  "]},
        {"secrets": "hunter2"},
        {"secrets": [b"hunter2"]},
        {"secrets": [1234567]},
        {"keys": "password"},
        {"keys": [""]},
        {"keys": ["-_ "]},
        {"keys": [1]},
        {"keys": 1},
        {"patterns": "sk-"},
        {"patterns": ["("]},
        {"patterns": ["a*"]},
        {"patterns": [re.compile("a?")]},
        {"patterns": [re.compile(b"a")]},
        {"patterns": [None]},
        {"replacement": None},
    ],
    ids=repr,
)
def test_a_wrong_rule_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Redactor(**options)

    assert caught.value.parameter in options
    if "secrets" in options:  # the refusal is logged, too
        assert "abc" not in str(caught.value)
        assert "hunter2" not in str(caught.value)


# Values.


class Login(NamedTuple):
    user: str
    password: str


@dataclass
class Shown:
    user: str
    password: str


@dataclass
class Hidden:
    user: str
    password: str = field(repr=False)


class Colour(str, Enum):  # noqa: UP042  # str() gives the name, encoders write the value
    RED = "hunter2"


class Account:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return "Account()"


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ("hunter2", GONE),
        ("password=x", f"password={GONE}"),
        (b"password=x \xff", b"password=[redacted] \xff"),
        (bytearray(b"hunter2"), b"[redacted]"),
        (["a", "hunter2"], ["a", GONE]),
        (("a", "hunter2"), ("a", GONE)),
        ({"a", "hunter2"}, {"a", GONE}),
        (frozenset({"hunter2"}), frozenset({GONE})),
        (deque(["hunter2"]), [GONE]),
        ({"a": [{"b": ("hunter2",)}]}, {"a": [{"b": (GONE,)}]}),
        ({"password": "x", "user": "bob"}, {"password": GONE, "user": "bob"}),
        ({"password": None}, {"password": GONE}),
        ({"password": ["x", {"y": 1}]}, {"password": GONE}),
        ({"token": 5, "pwd": 1.5, "secret": True}, {"token": GONE, "pwd": GONE, "secret": GONE}),
        ({"my hunter2": 1}, {f"my {GONE}": 1}),
        ({("hunter2", 1): 1}, {(GONE, 1): 1}),
        (OrderedDict(password="x"), {"password": GONE}),
        (defaultdict(str, password="x"), {"password": GONE}),
        (MappingProxyType({"password": "x"}), {"password": GONE}),
        ([(b"authorization", b"Bearer x")], [(b"authorization", GONE)]),
        ([["authorization", "Bearer x"]], [["authorization", GONE]]),
        ([[b"authorization", b"Bearer x"]], [[b"authorization", GONE]]),
        (["token", 5], ["token", GONE]),
        (["run", "--password", "x", "-v"], ["run", "--password", GONE, "-v"]),
        (("--password", "x"), ("--password", GONE)),
        (b"[(b'token', b'x')]", b"[(b'token', b'[redacted]')]"),
        (Login("bob", "x"), Login("bob", GONE)),
        (Login("token", "x"), Login("token", GONE)),
        (Shown("bob", "x"), f"Shown(user='bob', password='{GONE}')"),
        (Hidden("bob", "x"), "Hidden(user='bob')"),
        (SimpleNamespace(token="x"), f"namespace(token='{GONE}')"),
        (ValueError("hunter2"), GONE),
        (Account("hunter2"), GONE),
        (Colour.RED, "Colour.RED"),
        (7654321, GONE),
        (17654321, f"1{GONE}"),
        (7654321.5, f"{GONE}.5"),
        ({7654321: 1}, {GONE: 1}),
    ],
    ids=repr,
)
def test_what_is_secret_in_a_value_is_redacted(value: Any, redacted: Any) -> None:
    before = copy.copy(value) if not isinstance(value, MappingProxyType) else dict(value)

    result = Redactor(secrets=["hunter2", "7654321"]).value(value)

    assert result == redacted
    assert type(result) is type(redacted)
    assert value == before or isinstance(value, (BaseException, Account))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        HTTPStatus.OK,
        "x",
        b"x",
        [1, ["x"]],
        ["token", "user", "name"],
        ["token"],
        ["--token", "--user"],
        {"a": {"b": 1}},
        Login("", ""),
        object(),
        len,
        int,
    ],
    ids=repr,
)
def test_a_value_without_a_secret_is_the_same_object(value: Any) -> None:
    redactor = Redactor(keys=["token"], secrets=["hunter2"], patterns=["[0-9]{16}"])

    assert redactor.value(value) is value
    assert redactor.value([value, "hunter2"])[0] is value


def test_a_mapping_stays_a_mapping(redactor: Redactor) -> None:
    plain = {"user": "bob"}

    assert redactor.mapping(plain) is plain
    assert redactor.mapping({"user": "bob", "token": 1}) == {"user": "bob", "token": GONE}


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        (
            {"my hunter2": 1, "my swordfish": 2, "n": 3},
            {f"my {GONE}": 1, f"my {GONE} 2": 2, "n": 3},
        ),
        ({"hunter2": 1, GONE: 2, "swordfish": 3}, {f"{GONE} 2": 1, GONE: 2, f"{GONE} 3": 3}),
        ({"hunter2": 1, f"{GONE} 2": 2, GONE: 3}, {f"{GONE} 3": 1, f"{GONE} 2": 2, GONE: 3}),
        ({("hunter2",): 1, ("swordfish",): 2}, {(GONE,): 1, f"{(GONE,)} 2": 2}),
    ],
    ids=["two keys", "a key that is so called", "the next one too", "tuples"],
)
def test_keys_that_become_the_same_are_all_kept(
    value: dict[Any, Any], redacted: dict[Any, Any]
) -> None:
    redactor = Redactor(secrets=["hunter2", "swordfish"])

    assert redactor.value(value) == redacted
    assert redactor.value(redacted) is redacted


class Counting:
    """Counts how often its text is made."""

    def __init__(self) -> None:
        self.made = 0

    def __repr__(self) -> str:
        self.made += 1
        return "Counting()"


def test_an_object_is_read_once(redactor: Redactor) -> None:
    value = Counting()

    redactor.value({"a": value, "b": [value]})

    assert value.made == 1


def test_cycles_are_kept_as_cycles(redactor: Redactor) -> None:
    items: list[Any] = []
    mapping: dict[str, Any] = {"items": items, "pair": (items, "x")}
    items.append(mapping)
    assert redactor.value(mapping) is mapping

    mapping["password"] = "x"
    copied = redactor.value(mapping)

    assert copied["items"][0] is copied
    assert copied["pair"][0] is copied["items"]
    assert copied["password"] == GONE
    assert (mapping["password"], items[0]) == ("x", mapping)


def test_what_is_there_twice_is_read_once(redactor: Redactor) -> None:
    """Else 60 levels, each with the next one twice, would take 2 ** 60 steps."""
    value: Any = {"password": "x"}
    for _ in range(60):
        value = [value, value]

    copied = redactor.value(value)

    assert copied[0] is copied[1]


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: (x,)])
def test_what_lies_too_deep_to_be_searched_is_not_shown(
    redactor: Redactor, wrap: Callable[[Any], Any]
) -> None:
    value: Any = "password=hunter2"
    for _ in range(5_000):
        value = wrap(value)

    result = redactor.value(value)

    for _ in range(90):
        (result,) = result.values() if isinstance(result, dict) else result
    assert "hunter2" not in repr(result)


class Hostile(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("its own code ran")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("its own code ran")

    __len__ = __str__ = __repr__ = __iter__  # type: ignore[assignment]  # each raises


class Unprintable:
    def __str__(self) -> str:
        raise SystemExit("its own code ran")


@pytest.mark.parametrize("value", [Hostile(), Unprintable()], ids=["mapping", "object"])
def test_what_cant_be_read_is_not_shown(redactor: Redactor, value: Any) -> None:
    assert redactor.value([value, "x"]) == [GONE, "x"]


def test_a_dataclass_within_itself_is_read_once(redactor: Redactor) -> None:
    @dataclass
    class Node:
        next: Any = field(repr=False)
        other: Any = field(repr=False)

    node = Node(None, None)
    node.next = node.other = [node]

    assert redactor.value(node) is node


# Any values.

ALPHABET = "abc \"'\\/é"
SECRETS = st.lists(st.text("xyz%&'\"\\\n ", min_size=4, max_size=6), min_size=1, max_size=3).filter(
    lambda secrets: all(len(secret.strip()) >= 4 for secret in secrets)
)
TEXTS = st.text(ALPHABET, max_size=5)


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(TEXTS, inner, max_size=3)
        ),
        max_leaves=8,
    )


@settings(deadline=None)
@given(st.data(), SECRETS)
def test_no_secret_survives_anywhere(data: st.DataObject, secrets: list[str]) -> None:
    secret = st.sampled_from(secrets)
    with_secret = st.builds(lambda *parts: "".join(parts), TEXTS, secret, TEXTS)
    value = data.draw(values(with_secret | TEXTS | with_secret.map(str.encode)))
    before = copy.deepcopy(value)
    redactor = Redactor(keys=(), secrets=secrets)

    redacted = redactor.value(value)

    leaked = [text for text in texts_in(redacted) for secret in secrets if secret in text]
    assert leaked == []
    assert value == before
    assert redactor.value(redacted) is redacted


@settings(deadline=None)
@given(st.data(), SECRETS)
def test_no_secret_survives_in_the_text_of_a_value(data: st.DataObject, secrets: list[str]) -> None:
    value = data.draw(values(st.sampled_from(secrets) | TEXTS))
    redactor = Redactor(keys=(), secrets=secrets)
    shown = [
        ast.literal_eval(redactor.text(repr(value))),
        json.loads(redactor.text(json.dumps(value))),
    ]

    leaked = [text for text in texts_in(shown) if any(secret in text for secret in secrets)]
    assert leaked == []


@settings(deadline=None)
@given(values(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()))
def test_what_has_no_secret_is_the_same_object(value: Any) -> None:
    redactor = Redactor(keys=["never-a-key"], secrets=["never-a-secret"], patterns=["never-this"])

    assert redactor.value(value) is value


FORMS: list[Callable[[object], str]] = [
    repr,
    json.dumps,
    lambda value: json.dumps(json.dumps(value)),
]


@settings(deadline=None)
@given(
    st.sampled_from(["password", "API-Key", "token"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    st.sampled_from(FORMS),
)
def test_no_quoted_value_of_a_key_survives(
    key: str, secret: str, form: Callable[[object], str]
) -> None:
    text = Redactor().text(form({"first": "a", key: secret, "last": ["b"]}))

    if form is repr:  # it takes the quotes that the text has not
        text = text.replace(f'"{GONE}"', f"'{GONE}'")
    assert text == form({"first": "a", key: GONE, "last": ["b"]})


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


# Cost.


@pytest.mark.parametrize("start", ["", 'password=["', "cookie: a"])
def test_no_text_takes_more_than_linear_time(start: str, run_python: Any) -> None:
    """Quadratic time takes minutes for these; all of them together take seconds."""
    program = f"""
from fastapi_taskflow.redact import Redactor
redactor = Redactor(secrets=["hunter2", "x" * 50])
units = ["a", "x", "=", ":", " ", "-", "_", "(", "[]", "<", "'", '"', "&a", ",a", "; a=", "\\\\",
         '\\\\"', "\\\\\\\\'", "password=", "password=[", "password='", 'password="\\\\', "token: ",
         "token=<", "api key ", "cookie: a=b; ", "bearer ", "://", "://a:", "a@", "password=a&"]
for unit in units:
    redactor.text({start!r} + unit * (100_000 // len(unit)))
    redactor.text({start!r} + unit * (100_000 // len(unit)) + "\\n=")
"""
    finished = run_python(program, timeout=60)

    assert finished.returncode == 0, finished.stderr
