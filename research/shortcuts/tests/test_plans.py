from research.shortcuts.networks import recipe
from research.shortcuts.plans import CONFIRMATION, GREY, GREY_NEW, PLANS, TUNING, chosen_plans
from research.shortcuts.prepare import ALL_DOMAINS

HEALTHY = ("clean", "broken", "decoy")
# The seeds that earlier rules were seen on, or that the rule is tuned on, are in no other plan.
SEEDS = {
    "tuning": range(100, 106),
    "fashion_tuning": range(20),
    "fashion_first": range(100, 200),
    "fashion": range(300, 400),
    "composites": range(100, 200),
}


def healthy(*plans):
    return sum(setup.kind in HEALTHY for plan in plans for setup in PLANS[plan]())


def planted(*plans):
    return sum(setup.kind not in HEALTHY for plan in plans for setup in PLANS[plan]())


def test_plans_name_every_run_once():
    setups = [setup for plan in PLANS.values() for setup in plan()]
    assert len({setup.key for setup in setups}) == len(setups)
    assert {setup.domain for setup in setups} <= set(ALL_DOMAINS)
    for setup in setups:
        assert recipe(setup.domain, setup.seed).epochs >= 5


def test_seeds():
    assert set(TUNING) | set(CONFIRMATION) <= set(PLANS)
    for name, plan in PLANS.items():
        assert {setup.seed for setup in plan()} <= set(SEEDS.get(name, range(200, 300))), name


def test_there_are_as_many_runs_as_promised():
    assert healthy("controls", "honest") >= 150
    assert healthy("fashion") >= 70
    assert healthy("fashion", "composites") >= 100
    assert healthy("composites") >= 30
    assert planted("composites") >= 20
    used = {setup.family for setup in PLANS["fashion"]() if setup.kind == "coded"}
    assert set(GREY) | set(GREY_NEW) == used
    assert {setup.correlation for setup in PLANS["fashion"]() if setup.kind == "one"} == {0.2, 0.5, 0.8, 1.0}


def test_plans_are_chosen_by_name() -> None:
    assert chosen_plans(None) == chosen_plans(["digits", "all"]) == list(PLANS)
    assert chosen_plans(["fashion", "digits", "fashion"]) == ["fashion", "digits"]
