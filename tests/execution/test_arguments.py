"""A call that is packed comes back the same in another process, or is an error at once."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import math
import sqlite3
import sys
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import lru_cache, partial, update_wrapper, wraps
from inspect import signature
from pathlib import Path
from random import random
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    computed_field,
    field_validator,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict

from fastapi_taskflow.errors import StoredArgumentsError, UnstorableArgumentError
from fastapi_taskflow.execution.arguments import pack_arguments, unpack_arguments
from fastapi_taskflow.execution.codecs import codecs_of
from fastapi_taskflow.execution.options import TaskOptions, make_function

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    raw: bytes = b""


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass(eq=False)
class Handle:
    number: int


@dataclasses.dataclass
class Counted:
    number: int
    made: float = dataclasses.field(init=False, compare=False, default_factory=random)


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    when: datetime


class Pair(NamedTuple):
    left: int
    right: UUID


class Options(TypedDict, total=False):
    limit: int
    key: UUID


class Item(BaseModel):
    name: str
    price: Decimal | None = None
    tags: set[str] = set()


class SpecialItem(Item):
    rebate: int = 0


class Box(BaseModel, Generic[T]):
    model_config = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
    )

    content: T


class Login(BaseModel):
    user: str
    password: SecretStr
    seen: datetime | None = None


class Camel(BaseModel):
    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    full_name: str = Field(alias="fullName")
    other: int = Field(1, validation_alias="in", serialization_alias="out")

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def initial(self) -> str:
        return self.full_name[0]


class Stamped(BaseModel):
    made: int = Field(default_factory=iter(range(1000)).__next__)


class Hiding(BaseModel):
    shown: int
    _hidden: int = PrivateAttr(0)


class Blob(BaseModel):
    data: bytes


class Picky(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def check(cls, word: str) -> str:
        if word == "hunter2":
            raise KeyError(word)
        if word == "hunter3":
            raise ValueError(word)
        return word


class Token:
    """A class of pydantic's kind, without ``__eq__``."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda token: token.text.replace("x", "", 1)
            ),
        )


def pack(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    return pack_arguments(make_function(call, TaskOptions()), args, kwargs)


def unpack(call: Callable[..., Any], text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return unpack_arguments(make_function(call, TaskOptions()), text)


def there_and_back(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return unpack(call, pack(call, *args, **kwargs))


def taking(annotation: Any) -> Callable[..., Any]:
    def call(value: Any) -> None: ...

    call.__annotations__["value"] = annotation
    return call


def same(given: Any, back: Any) -> bool:
    """Whether two values have equal types, inside too."""
    if type(given) is not type(back):
        return False
    if isinstance(given, (list, tuple)):
        return len(given) == len(back) and all(map(same, given, back))
    if isinstance(given, dict):
        return same(sorted(given.items(), key=repr), sorted(back.items(), key=repr))
    if isinstance(given, (set, frozenset)):
        return same(sorted(given, key=repr), sorted(back, key=repr))
    if isinstance(given, BaseModel):
        return same(dict(given), dict(back))
    if isinstance(given, float) and math.isnan(given):
        return math.isnan(back)
    return bool(given == back)


ID = UUID("12345678-1234-5678-1234-567812345678")
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # a time without a zone
NOON = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
EAST = timezone(timedelta(hours=5, minutes=30))

VALUES: list[tuple[Any, Any]] = [
    (str, 'Zoë \x00 \u2028 😀 "'),
    (bool, True),
    (int, 2**200),
    (float, 0.1),
    (float, -0.0),
    (float, math.inf),
    (float, math.nan),
    (complex, 1 + 2j),
    (bytes, b"\xff\x00\xfe"),
    (UUID, ID),
    (datetime, NOON),
    (datetime, NAIVE),
    (datetime, NOON.astimezone(EAST)),
    (date, date(1, 1, 1)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-3, microseconds=7)),
    (timedelta, timedelta.max),
    (Decimal, Decimal("1.500")),
    (Path, Path("a/b")),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (Word, Word.YES),
    (Point, Point(1, 2.0, b"\xff")),
    (Slots, Slots(NOON)),
    (Pair, Pair(1, ID)),
    (Options, {"key": ID, "limit": 3}),
    (Item, Item(name="a", price=Decimal("1.0"), tags={"x"})),
    (Box[UUID], Box[UUID](content=ID)),
    (Box[list[Point]], Box[list[Point]](content=[Point(1)])),
    (Camel, Camel(fullName="Ada", **{"in": 3})),
    (Literal["a", 1], 1),
    (UUID | None, None),
    (int | str, "1"),
    (str | int, 1),
    (int | float, 1.0),
    (bool | int, 1),
    (date | datetime, NAIVE),
    (datetime | date, date(2026, 1, 1)),
    (UUID | str, ID),
    (UUID | str, "no id"),
    (Item | SpecialItem, SpecialItem(name="a", rebate=0)),
    (list[UUID], [ID]),
    (set[UUID], {ID}),
    (frozenset[date], frozenset([date(2026, 1, 1)])),
    (tuple[int, str], (1, "a")),
    (tuple[UUID, ...], (ID, ID)),
    (deque[int], deque([1, 2])),
    (dict[int, str], {1: "a"}),
    (dict[UUID, list[datetime]], {ID: [NOON]}),
    (dict[bytes, int], {b"\xff": 1}),
    (defaultdict[str, int], defaultdict(int, a=1)),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (Counter[str], Counter("abba")),
    (Mapping[str, UUID], {"a": ID}),
    (Sequence[int], [1, 2]),
    (Iterable[UUID], [ID]),
    (Iterable, [1]),
    (Annotated[int, Field(gt=0)], 1),
    (Annotated[list[Annotated[bytes, "note"]], "note"], [b"\xff"]),
    (Any, {"a": [1, 2.5, None, True, "x"]}),
    (object, "a"),
    (dict, {"a": {"b": []}}),
    (dict[str, Any], {"a": [1]}),
    (list, [[]]),
    (T, [1]),
    (type(None), None),
    (sqlite3.Connection | None, None),
    ("Number", 3),
    (None, None),
]


def _ids(cases: Sequence[tuple[Any, ...]]) -> list[str]:
    return [f"{place}-{str(case[0]).replace('typing.', '')}" for place, case in enumerate(cases)]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=_ids(VALUES))
def test_a_value_comes_back_as_its_annotated_type(annotation: Any, value: Any) -> None:
    call = taking(annotation)

    (back,), kwargs = there_and_back(call, value)

    assert same(value, back)
    assert kwargs == {}


@pytest.mark.parametrize("value", [1, 2**53], ids=str)
def test_an_int_may_be_given_for_a_float(value: int) -> None:
    (back,), _ = there_and_back(taking(float), value)

    assert (back, type(back)) == (value, float)


def test_an_aware_time_comes_back_with_its_distance_from_utc() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    again = datetime(2025, 10, 26, 2, 30, tzinfo=berlin, fold=1)  # == no other zone's time

    (back,), _ = there_and_back(taking(datetime), again)

    assert back.utcoffset() == timedelta(hours=1)
    assert back.replace(tzinfo=None) == again.replace(tzinfo=None, fold=0)


def test_a_frozen_time_can_be_stored() -> None:
    call = taking(datetime)
    pack(call, NOON)  # older pydantic makes no schema of a frozen class
    with freeze_time("2026-01-01"):
        (back,), _ = there_and_back(call, datetime.now(UTC))

    assert back == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_model_was_made_without_stays_unset() -> None:
    (back,), _ = there_and_back(taking(list[Item]), [Item(name="a")])

    assert back[0].model_fields_set == {"name"}


def test_what_a_model_has_made_itself_is_stored() -> None:
    stamped = Stamped()

    (back,), _ = there_and_back(taking(Stamped), stamped)

    assert back == stamped


def test_a_default_that_was_changed_in_place_is_stored() -> None:
    item = Item(name="a")
    item.tags.add("x")

    (back,), _ = there_and_back(taking(Item), item)

    assert back.tags == {"x"}


def test_a_dataclass_without_eq_is_compared_by_its_fields() -> None:
    (back,), _ = there_and_back(taking(list[Handle]), [Handle(3)])

    assert back[0].number == 3


def test_what_a_dataclass_makes_itself_and_does_not_compare_is_made_again() -> None:
    (back,), _ = there_and_back(taking(Counted), Counted(3))

    assert back.number == 3


def test_a_value_without_eq_is_compared_by_what_is_written() -> None:
    (back,), _ = there_and_back(taking(Token), Token("low"))

    assert back.text == "low"


WRONG: list[tuple[Any, Any, str]] = [
    (Any, sqlite3.connect, "pass what it can be made from again"),
    (Any, lambda: None, r"type function; pass what it can be made from again"),
    (Any, io.StringIO(), r"type _io.StringIO; pass what it can be made from"),
    (Any, (1, 2), "type tuple; annotate the parameter"),
    (Any, {1}, "type set; annotate the parameter"),
    (Any, b"a", "type bytes; annotate the parameter"),
    (Any, ID, "type uuid.UUID; annotate the parameter"),
    (Any, Word.YES, r"Word; annotate the parameter"),
    (Any, Level.LOW, r"Level; annotate the parameter"),
    (Any, OrderedDict(a=1), "OrderedDict; annotate the parameter"),
    (Any, Item(name="a"), "Item; annotate the parameter"),
    (Any, {1: "a"}, r"a key of it is of type int.*dict\[int, ...\]"),
    (Any, math.nan, "it is nan.*annotate it as a float"),
    (Any, [[math.inf]], r"it\[0\]\[0\] is inf"),
    (Any, {"a": [1, (2,)]}, r"it\[\.\.\.\]\[1\] is of type tuple"),
    (Any, "\ud800", "a lone surrogate"),
    (Any, {"\ud800": 1}, "a key of it has a lone surrogate"),
    (Any, 10**5000, "more digits"),
    (dict[str, Any], {"a": (1,)}, r"it\[\.\.\.\] is of type tuple and would come back as list"),
    (dict[str, Any], {"a": math.nan}, "is of type float and would come back as str"),
    (dict, {1: 2}, "would come back"),
    (int, sqlite3, "has no JSON form; its annotation is int"),
    (int, "1", "is of type str and would come back as int; its annotation is int"),
    (int, True, "is of type bool and would come back as int"),
    (int, Level.LOW, "Level and would come back as int"),
    (int, 10**5000, "digits"),
    (float, 2**53 + 1, "is of type int and would come back as float"),
    (bool, 1, "is of type int and would come back as bool"),
    (str, Word.YES, "Word and would come back as str"),
    (str, "\ud800", "a lone surrogate"),
    (UUID, str(ID), "is of type str and would come back as uuid.UUID"),
    (Decimal, Decimal("nan"), "is refused: Input should be a finite number"),
    (datetime, datetime(1800, 1, 1, tzinfo=timezone(timedelta(seconds=3208))), "come back changed"),
    (float | str, math.nan, "is of type float and would come back as str"),
    (Path, "a/b", "is of type str and would come back as pathlib"),
    (list[int], (1, 2), "is of type tuple and would come back as list"),
    (Iterable[int], iter([1]), "its annotation is collections.abc.Iterable"),
    (tuple[int, UUID], Pair(1, ID), "Pair and would come back as tuple"),
    (dict[str, int], OrderedDict(a=1), "OrderedDict and would come back as dict"),
    (dict[int, str], {True: "a"}, r"it\[\.\.\.\].* is refused: Input should be a valid integer"),
    (set[int], {True}, "a key of it is of type bool"),
    (defaultdict[str, int], defaultdict(lambda: 7), "would come back changed"),
    (deque[int], deque([1], maxlen=3), "would come back changed"),
    (Item, SpecialItem(name="a", rebate=3), "SpecialItem and would come back as"),
    (
        list[Item],
        [SpecialItem(name="a")],
        r"it\[0\] is of type .*SpecialItem and would come back as",
    ),
    (Point, Point3(1, z=3), "Point3 and would come back as"),
    (Point, Point(x=True), r"it\.x is of type bool and would come back as int"),
    (Item, {"name": "a"}, "is of type dict and would come back as"),
    (Annotated[int, Field(gt=0)], 0, "Input should be greater than 0"),
    (Blob, Blob(data=b"\xff"), "ser_json_bytes"),
    (Token, Token("xx"), "it would come back changed"),
    (Callable[[], None], print, "has no JSON form"),
    (sqlite3.Connection, [set()], "pydantic makes nothing of its annotation, sqlite3.Connection"),
    ("Number", ID, "its annotation 'Number' can't be looked up.*TYPE_CHECKING"),
    (list["Missing"], [ID], "can't be looked up|makes nothing of"),  # type: ignore[name-defined]  # noqa: F821  # the case
    (Picky, Picky.model_construct(word="hunter2"), "a KeyError was raised"),
    (Picky, Picky.model_construct(word="hunter3"), r"it\.word is refused: value_error"),
]


@pytest.mark.parametrize(("annotation", "value", "said"), WRONG, ids=_ids(WRONG))
def test_what_would_not_come_back_is_an_error(annotation: Any, value: Any, said: str) -> None:
    with pytest.raises(UnstorableArgumentError, match=said) as caught:
        pack(taking(annotation), value)

    assert str(caught.value).startswith("can't enqueue call: argument 'value' (")
    assert caught.value.argument == "value"
    assert caught.value.__context__ is None
    assert "hunter" not in str(caught.value)


def test_a_private_attribute_that_would_be_lost_is_an_error() -> None:
    hiding = Hiding(shown=1)
    hiding._hidden = 3  # noqa: SLF001  # the case

    with pytest.raises(UnstorableArgumentError, match="would come back changed"):
        pack(taking(Hiding), hiding)


@pytest.mark.parametrize("annotation", [Any, list[Any]], ids=["plain", "annotated"])
def test_a_list_in_itself_is_an_error(annotation: Any) -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(UnstorableArgumentError, match=r"contains itself|nested too deeply"):
        pack(taking(annotation), endless)


def test_an_open_connection_is_an_error_that_names_argument_and_type() -> None:
    def report(name: str, db: sqlite3.Connection) -> None: ...

    with (
        sqlite3.connect(":memory:") as db,
        pytest.raises(UnstorableArgumentError, match=r"report.*'db' \(sqlite3.Connection\)"),
    ):
        pack(report, "a", db=db)
    db.close()


def test_arguments_in_args_and_kwargs_are_named_in_errors() -> None:
    def call(*values: int, **options: int) -> None: ...

    with pytest.raises(UnstorableArgumentError, match=r"argument 'values\[1\]' \(str\)"):
        pack(call, 1, "2")
    with pytest.raises(UnstorableArgumentError, match=r"argument 'depth' \(str\)"):
        pack(call, depth="2")


# Secrets


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (SecretStr, SecretStr("hunter2")),
        (SecretBytes, SecretBytes(b"\xff")),
        (dict[str, SecretStr], {"a": SecretStr("hunter2")}),
        (tuple[SecretStr, ...], (SecretStr("hunter2"),)),
        (Login, Login(user="a", password=SecretStr("hunter2"))),
        (list[Login], [Login(user="a", password=SecretStr("b"), seen=NOON)]),
    ],
    ids=["text", "bytes", "dict", "tuple", "model", "models"],
)
def test_secrets_are_stored_only_where_the_text_is_encrypted(annotation: Any, value: Any) -> None:
    function = make_function(taking(annotation), TaskOptions())

    with pytest.raises(UnstorableArgumentError, match="set encrypt_args_key") as caught:
        pack_arguments(function, (value,), {})
    text = pack_arguments(function, (value,), {}, reveal_secrets=True)

    assert "hunter2" not in str(caught.value)
    (back,), _ = unpack_arguments(function, text)
    assert back == value


def test_the_fields_of_a_model_with_secrets_stay_unset() -> None:
    function = make_function(taking(Login), TaskOptions())
    login = Login(user="a", password=SecretStr("b"))

    (back,), _ = unpack_arguments(
        function, pack_arguments(function, (login,), {}, reveal_secrets=True)
    )

    assert back.model_fields_set == {"user", "password"}


def test_what_has_no_secret_is_refused_with_encryption_too() -> None:
    function = make_function(taking(int), TaskOptions())

    with pytest.raises(UnstorableArgumentError, match="is of type str and would come back as int"):
        pack_arguments(function, ("1",), {}, reveal_secrets=True)


# Calls


def mixed(
    first: int,
    /,
    second: UUID,
    third: str = "c",
    *rest: date,
    named: bytes = b"",
    **others: Decimal,
) -> None: ...


def options(**options: Unpack[Options]) -> None: ...


class Service:
    def method(self, key: UUID, n: int = 0) -> None: ...

    @classmethod
    def made(cls, key: UUID) -> None: ...

    @staticmethod
    def static(key: UUID) -> None: ...

    def __call__(self, key: UUID) -> None: ...


class Job:
    def __init__(self, key: UUID) -> None: ...


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@logged
def wrapped(key: UUID, n: int = 0) -> None: ...


@lru_cache
def cached(key: UUID) -> None: ...


DAY = date(2026, 1, 1)

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (mixed, (1, ID), {}),
    (mixed, (1,), {"second": ID}),
    (mixed, (1, ID, "x", DAY, DAY), {"named": b"\xff", "more": Decimal(1)}),
    (mixed, (1,), {"third": "x", "second": ID}),
    (mixed, (1, ID), {"first": Decimal(2)}),
    (options, (), {"limit": 1, "key": ID}),
    (Service().method, (ID,), {"n": 2}),
    (Service.method, ([], ID), {}),
    (Service.made, (ID,), {}),
    (Service.static, (ID,), {}),
    (Service(), (ID,), {}),
    (Job, (ID,), {}),
    (wrapped, (ID,), {"n": 3}),
    (cached, (), {"key": ID}),
    (partial(mixed, 1), (ID,), {"third": "x"}),
    (partial(mixed, 1, second=ID), (), {"named": b"\xff", "more": Decimal(2)}),
    (partial(Service().method, n=3), (ID,), {}),
    (logged(partial(wrapped, n=1)), (ID,), {"n": 2}),
    (print, ("a", 1), {"sep": ","}),
    (min, (1, 2), {"default": 3}),
    (str.upper, ("a",), {}),
    ([].append, (1,), {}),
    (lambda *a, **k: None, (1, [2]), {"class": "x", "a": None, "not a name": 1}),
    (lambda: None, (), {}),
]


@pytest.mark.parametrize(("call", "args", "kwargs"), CALLS, ids=[str(n) for n in range(len(CALLS))])
def test_the_call_is_made_again_as_it_was(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    back = there_and_back(call, *args, **kwargs)

    assert same((args, kwargs), back)
    assert list(back[1]) == list(kwargs)


def test_default_values_are_not_stored() -> None:
    assert json.loads(pack(mixed, 1, ID)) == {
        "positional": {"first": 1, "second": str(ID)},
        "rest": [],
        "keyword": {},
    }


def test_the_signature_that_a_decorator_gives_counts() -> None:
    elsewhere: dict[str, Any] = {}
    exec("def wrapper(*args, **kwargs): ...", elsewhere)  # in no module that knows UUID
    wrapper: Any = update_wrapper(elsewhere["wrapper"], taking(int))
    wrapper.__signature__ = signature(Service.static)

    outer = taking(int)
    vars(outer)["__wrapped__"] = wrapper

    assert there_and_back(wrapper, ID) == ((ID,), {})
    assert there_and_back(outer, ID) == ((ID,), {})


def test_a_callable_that_wraps_itself_has_no_annotations() -> None:
    def call(value: Any) -> None: ...

    vars(call)["__wrapped__"] = call

    assert there_and_back(call, 1) == ((1,), {})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are newer")
def test_a_type_parameter_is_looked_up() -> None:
    module: dict[str, Any] = {"UUID": UUID}
    exec("def call[Key: UUID](value: 'list[Key]'): ...", module)

    (back,), _ = there_and_back(module["call"], [ID])

    assert back == [ID]


# Newer code


def test_parameters_that_moved_get_their_own_arguments() -> None:
    def old(a: int, b: UUID) -> None: ...
    def new(b: UUID, c: int = 3, *, a: int) -> None: ...

    assert unpack(new, pack(old, 1, ID)) == ((ID,), {"a": 1})


def test_a_new_parameter_in_the_middle_gets_its_default() -> None:
    def old(a: int, *rest: int) -> None: ...
    def new(a: int, b: int = 5, *rest: int) -> None: ...

    assert unpack(new, pack(old, 1, 2)) == ((1, 5, 2), {})


def test_a_parameter_may_become_positional_only_or_one_of_many() -> None:
    def old(a: int, b: int) -> None: ...
    def only(a: int, b: int, /) -> None: ...
    def many(a: int, **others: int) -> None: ...

    text = pack(old, 1, b=2)

    assert unpack(only, text) == ((1, 2), {})
    assert unpack(many, text) == ((1,), {"b": 2})


def test_arguments_are_read_by_the_new_annotation() -> None:
    def old(when: str) -> None: ...
    def new(when: date) -> None: ...

    assert unpack(new, pack(old, "2026-01-01")) == ((DAY,), {})


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (lambda a: None, "it has no parameter 'b' any more"),
        (
            lambda a, renamed: None,
            "no parameter 'b' any more; its parameter 'renamed' has no stored argument",
        ),
        (lambda a, b, c: None, "its parameter 'c' has no stored argument, nor a default"),
        (lambda a, *, b, c: None, "its parameter 'c' has no stored argument"),
        (lambda: None, "no parameter 'a' any more; it has no parameter 'b' any more"),
    ],
    ids=["removed", "renamed", "required", "required by name", "all gone"],
)
def test_a_parameter_that_does_not_fit_is_named(new: Callable[..., Any], said: str) -> None:
    def old(a: int, b: int) -> None: ...

    with pytest.raises(StoredArgumentsError, match=said):
        unpack(new, pack(old, 1, b=2))


def test_further_positional_arguments_need_a_place() -> None:
    with pytest.raises(StoredArgumentsError, match=r"no parameter '\*args'"):
        unpack(lambda a: None, pack(lambda a, *rest: None, 1, 2))


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "argument 'value': it is refused: Input should be a valid integer"),
        (list[int], "argument 'value': it is refused: Input should be a valid array"),
        (Picky, "argument 'value': it is refused"),
    ],
    ids=["int", "list", "model"],
)
def test_a_value_that_does_not_fit_is_named_and_not_shown(annotation: Any, said: str) -> None:
    with pytest.raises(StoredArgumentsError, match=said) as caught:
        unpack(taking(annotation), pack(taking(str), "hunter2"))

    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("word", ["hunter2", "hunter3"])
def test_a_validator_that_raises_shows_no_value(word: str) -> None:
    text = pack(taking(dict[str, str]), {"word": word})

    with pytest.raises(StoredArgumentsError, match=r"raised|value_error") as caught:
        unpack(taking(Picky), text)

    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"positional":[],"rest":[],"keyword":{}}',
        '{"other":1}',
        "fernet:x",
    ],
)
def test_a_text_that_is_no_call_is_an_error(text: str) -> None:
    with pytest.raises(StoredArgumentsError, match="not what pack_arguments"):
        unpack(mixed, text)


# Codecs


def test_codecs_are_made_once_for_methods_and_partials_too() -> None:
    first = codecs_of(Service().method)

    assert codecs_of(Service().method) is first
    assert codecs_of(partial(Service().method, n=1)) is first
    assert codecs_of(Service()) is codecs_of(Service())


def test_codecs_go_with_their_function() -> None:
    def call(value: int) -> None: ...

    pack(call, 1)
    gone = weakref.ref(call)
    del call
    gc.collect()

    assert gone() is None


def test_threads_may_pack_for_one_function_at_once() -> None:
    start = threading.Barrier(8)

    def packs(call: Callable[..., Any]) -> set[str]:
        start.wait(30)
        return {pack(call, ID) for _ in range(20)}

    for _ in range(10):
        call = taking(UUID)
        with ThreadPoolExecutor(8) as pool:
            texts = set().union(*pool.map(packs, [call] * 8))

        assert len(texts) == 1


PACKED = """
import sys
from uuid import UUID
from fastapi_taskflow.execution.arguments import unpack_arguments
from fastapi_taskflow.execution.options import TaskOptions, make_function
def task(key: "UUID", *, raw: "bytes"): ...
print(unpack_arguments(make_function(task, TaskOptions()), sys.argv[1]))
"""


def test_another_process_makes_the_same_call(run_python: Callable[..., Any]) -> None:
    def task(key: UUID, *, raw: bytes) -> None: ...

    result = run_python(PACKED, pack(task, ID, raw=b"\xff"))

    assert result.stdout.strip() == repr(((ID,), {"raw": b"\xff"}))


# Properties

TEXTS = st.text()  # without surrogates
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)
MINUTES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXTS),
    (int, st.integers()),
    (bool, st.booleans()),
    (float, st.floats()),
    (bytes, st.binary()),
    (UUID, st.uuids()),
    (datetime, st.datetimes(timezones=st.none() | MINUTES)),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Point, st.builds(Point, st.integers(), st.floats(allow_nan=False), st.binary())),
    (Pair, st.builds(Pair, st.integers(), st.uuids())),
    (
        Item,
        st.builds(
            Item, name=TEXTS, price=st.none() | st.decimals(allow_nan=False, allow_infinity=False)
        ),
    ),
    (Any, PLAIN),
]
KEYS = (str, int, bool, bytes, UUID, date, Colour)


def of(kind: Any, *parts: Any) -> Any:
    """``kind[parts]``, which mypy would take for a type."""
    return kind[parts]


def _containers(
    case: tuple[Any, st.SearchStrategy[Any]],
) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    kind, values = case
    made: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (of(list, kind), st.lists(values, max_size=4)),
        (of(tuple, kind, ...), st.lists(values, max_size=4).map(tuple)),
        (of(tuple, kind, int), st.tuples(values, st.integers())),
        (of(dict, str, kind), st.dictionaries(TEXTS, values, max_size=4)),
        (kind | None, st.none() | values),
        (of(Box, kind), values.map(lambda value: of(Box, kind)(content=value))),
    ]
    if kind in KEYS:
        made += [
            (of(set, kind), st.sets(values, max_size=4)),
            (of(frozenset, kind), st.frozensets(values, max_size=4)),
            (of(dict, kind, int), st.dictionaries(values, st.integers(), max_size=4)),
        ]
    return st.sampled_from(made)


CASES = st.sampled_from(LEAVES) | st.sampled_from(LEAVES).flatmap(_containers)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_generated_values_come_back_equal_and_of_their_types(data: st.DataObject) -> None:
    kind, values = data.draw(CASES)
    value = data.draw(values)

    (back,), _ = there_and_back(taking(kind), value)

    assert same(value, back), kind


@given(st.lists(PLAIN, max_size=4), st.dictionaries(TEXTS, PLAIN, max_size=4))
@settings(deadline=None)
def test_plain_values_need_no_annotations(args: list[Any], kwargs: dict[str, Any]) -> None:
    function = make_function(lambda *a, **k: None, TaskOptions())

    back = unpack_arguments(function, pack_arguments(function, tuple(args), kwargs))

    assert same((tuple(args), kwargs), back)
