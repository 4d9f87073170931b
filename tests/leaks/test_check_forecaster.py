"""The conformance suite on classes that each break one promise."""

import pytest
from leaks import faulty

from pmx_ray.errors import SettingsError
from pmx_ray.leaks.conformance import CHECKS, Checked, check
from pmx_ray.leaks.loading import spec_of


def checked(build: type[faulty.Sound]) -> tuple[Checked, ...]:
    return check(spec_of(f"leaks.faulty:{build.__name__}", {}), input_size=260)


@pytest.mark.parametrize("build", [faulty.Sound, faulty.Kernel, faulty.TakesSettings])
def test_check_when_the_class_is_sound_then_all_pass(build: type[faulty.Sound]) -> None:
    found = checked(build)
    assert [c for c in found if not c.passed] == []
    assert len(found) == len(CHECKS)


@pytest.mark.parametrize("name", faulty.FAULTS)
def test_check_when_one_promise_is_broken_then_its_check_alone_fails(name: str) -> None:
    (failed,) = [c for c in checked(faulty.FAULTS[name]) if not c.passed]
    assert failed.name == name
    assert failed.problem
    assert failed.advice == CHECKS[name][1]


def test_check_when_numbers_do_not_repeat_then_said_so() -> None:
    failed = {c.name for c in checked(faulty.Unseeded) if not c.passed}
    assert "repeatable" in failed


def test_faults_when_listed_then_every_check_has_one() -> None:
    assert set(CHECKS) == {*faulty.FAULTS, "repeatable"}


@pytest.mark.parametrize("build", [faulty.NoScope, faulty.NoExtend])
def test_check_when_the_protocol_is_not_met_then_nothing_else_is_tried(
    build: type[faulty.Sound],
) -> None:
    (only,) = checked(build)
    assert only.name == "protocol"


def test_spec_when_settings_are_given_then_the_class_is_built_with_them() -> None:
    bare = spec_of("leaks.faulty:Sound", {"share": 0.25})
    assert bare.build().share == 0.25
    assert bare.label == "leaks.faulty:Sound(share=0.25)"
    assert spec_of("leaks.faulty:Sound", {}).build().share == 1.0
    assert spec_of("leaks.faulty:TakesSettings", {"share": 0.1}).build().share == 0.1


def test_spec_when_the_class_is_registered_then_it_is_the_family() -> None:
    assert spec_of("leaks.faulty:Registered", {"share": 0.2}).label == "tests_registered(share=0.2)"


@pytest.mark.parametrize(
    ("address", "given", "message"),
    [
        ("leaks.faulty", {}, "write it as package.module:Class"),
        ("leaks.faulty:Soud", {}, "did you mean 'Sound'"),
        ("leaks.nowhere:Sound", {}, "cannot be imported"),
        ("leaks.faulty:FAULTS", {}, "is a dict; it must be a class"),
        ("leaks.faulty:Sound", {"shre": 1}, "it takes share"),
        ("leaks.faulty:Needs", {}, "window has no default"),
        ("leaks.faulty:TakesSettings", {"shre": 1}, "did you mean 'share'"),
    ],
)
def test_spec_when_the_words_are_wrong_then_refused(
    address: str, given: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        spec_of(address, given)
