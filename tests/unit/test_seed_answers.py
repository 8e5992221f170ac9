"""Recompute the answers of the shipped seed tasks that can be computed: data, sums, proofs, puzzles, labels.

Each test looks its task up by name, so the order and the ids of the tasks do not matter.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections import Counter, deque
from datetime import date, timedelta
from io import StringIO

import pytest

from unit.shipped_seeds import SEEDS, answer, given, instruction, pairs, run_python, words

# ---------------------------------------------------------------- Data wrangling


def test_csv_contacts_to_json():
    rows = list(csv.DictReader(StringIO(given("csv_contacts_to_json"))))
    expected = [{k: int(v) if k == "visits" else v or None for k, v in row.items()} for row in rows]
    assert answer("csv_contacts_to_json") == json.dumps(expected, indent=2)


def test_standardise_mixed_dates():
    lines = answer("standardise_mixed_dates").splitlines()
    assert lines == ["2021-03-03", "2019-11-07", "2020-02-01", "2020-02-29", "1998-12-12", "2003-08-05"]
    assert len(lines) == len(given("standardise_mixed_dates").splitlines())
    assert [date.fromisoformat(line) for line in lines][3].strftime("%a") == "Sat"


def test_extract_orders_from_email():
    text = given("extract_orders_from_email")
    header, *rows = answer("extract_orders_from_email").splitlines()
    assert header == "order,amount"
    assert [row.split(",")[0] for row in rows] == re.findall(r"ORD-\d+", text)
    for row in rows:
        assert re.fullmatch(r"ORD-\d{4},\d+\.\d{2}", row)
        amount = float(row.split(",")[1])
        assert f"£{amount:,.2f}" in text or f"£{amount:,.0f}" in text


def test_deduplicate_email_list():
    kept = {}
    for line in given("deduplicate_email_list").splitlines():
        kept.setdefault(line.strip().lower(), line.strip())
    assert answer("deduplicate_email_list").splitlines() == list(kept.values())


def test_tally_http_status_codes():
    codes = Counter(re.search(r'" (\d{3}) ', line).group(1) for line in given("tally_http_status_codes").splitlines())
    rows = [f"| {code} | {n} |" for code, n in sorted(codes.items(), key=lambda item: (-item[1], item[0]))]
    assert answer("tally_http_status_codes").splitlines() == ["| Status | Count |", "| --- | --- |", *rows]


def test_order_version_numbers():
    listed = instruction("order_version_numbers").rsplit(": ", 1)[1].rstrip(".").split(", ")

    def key(version):
        number, _, candidate = version.partition("-rc")
        return [int(n) for n in number.split(".")], int(candidate) if candidate else math.inf

    assert answer("order_version_numbers").split(", ") == sorted(listed, key=key)


def test_merge_staff_and_desk_tables():
    staff, desks = (block.splitlines()[2:] for block in given("merge_staff_and_desk_tables").split("\n\n"))
    staff = [row.split(" | ") for row in staff]
    desks = {row.split(" | ")[0]: row.split(" | ")[1:] for row in desks}
    rows = [person + desks.get(person[0], ["-", "-"]) for person in sorted(staff, key=lambda row: row[1])]
    lines = [["no", "surname", "team", "floor", "desk"], ["---"] * 5, *rows]
    assert answer("merge_staff_and_desk_tables").splitlines() == ["| " + " | ".join(row) + " |" for row in lines]


def test_find_invalid_booking_rows():
    rejected = []
    for row in given("find_invalid_booking_rows").splitlines()[1:]:
        key, guests, start, end = row.split(";")
        if not guests.isdigit() or not 1 <= int(guests) <= 8 or date.fromisoformat(end) <= date.fromisoformat(start):
            rejected.append(key)
    text = answer("find_invalid_booking_rows")
    assert re.findall(r"^- (B\d):", text, re.M) == rejected == ["B2", "B3", "B4", "B6"]
    assert text.startswith("Four of the six")
    assert "B1 and B5 are fine." in text


# ---------------------------------------------------------------- Maths


SHARED_MONTH = 1 - math.perm(12, 6) / 12**6
BEFORE = math.sqrt(6.5**2 - 2.5**2)
AFTER = math.sqrt(6.5**2 - (2.5 + 1.4) ** 2)
ARITHMETIC = {
    "successive_discounts": [
        (f"{1 - 0.80 * 0.85:.0%}", "a 32% discount"),
        (f"{0.80 * 0.85:.2f}", "0.80 × 0.85 = 0.68"),
    ],
    "shared_birth_month_probability": [
        (f"{SHARED_MONTH:.1%}", "About 77.7%"),
        (f"{SHARED_MONTH:.3f}", "≈ 0.777"),
        (f"{math.perm(12, 6):,}", "665,280"),
        (f"{12**6:,}", "2,985,984"),
    ],
    "sliding_ladder": [
        (f"{BEFORE - AFTER:.1f}", "slides down 0.8 metres"),
        (f"{BEFORE:.0f}", "√36 = 6 m"),
        (f"{AFTER:.1f}", "√27.04 = 5.2 m"),
    ],
    "express_in_other_units": [
        (f"{3.5 * 1.609344:.2f}", "5.63 kilometres"),
        (f"{180 * 0.45359237:.2f}", "81.65 kilograms"),
        (f"{72 / 3.6:.2f}", "20.00 m/s"),
        (f"{2 * 3.785411784:.2f}", "7.57 litres"),
        (f"{(98.6 - 32) * 5 / 9:.2f}", "37.00 °C"),
    ],
    "two_presses_one_breaks": [
        (f"{1.5 + (1 - 1.5 * (1 / 6 + 1 / 4)) * 6:.2f}", "2.25 = 3.75 hours"),
        ("3", "took 3 hours 45 minutes"),
        (f"{0.75 * 60:.0f}", "3 hours 45 minutes"),
    ],
    "compound_interest_by_year": [
        (f"{2400 * 1.035:,.2f}", "Year 1: £2,400.00 × 1.035 = £2,484.00"),
        (f"{2400 * 1.035**2:,.2f}", "Year 2: £2,484.00 × 1.035 = £2,570.94"),
        (f"{2400 * 1.035**3:,.2f}", "Year 3: £2,570.94 × 1.035 = £2,660.92"),
    ],
    "dividing_by_a_fraction": [(f"{6 * 4}", "6 × 4 = 24"), (f"{6 / (3 / 4):.0f}", "24 ÷ 3 = 8")],
    "estimate_discarded_toothbrushes": [
        (f"{50_000 * 0.94:,.0f}", "47,000 users"),
        (f"{31_000 * 2.5:,.0f}", "31,000 × 2.5 = 77,500"),
        (f"{16_000 * 2.5:,.0f}", "16,000 × 2.5 = 40,000"),
        (f"{16_000 * 0.2:,.0f}", "16,000 × 0.2 = 3,200"),
        (f"{77_500 + 40_000 + 3_200:,}", "Total: 120,700"),
        (f"{round(120_700 / 365, -1):.0f}", "some 330 a day"),
        (f"{round(47_000 * 1.5 + 3_200, -3):,.0f}", "nearer 74,000"),
        (f"{round(47_000 * 4 + 3_200, -4):,.0f}", "about 190,000"),
    ],
    "prove_consecutive_sums": [("5m", "the sum is 5m"), (f"4n + {0 + 1 + 2 + 3}", "4n + 6 = 4(n + 1) + 2")],
}


@pytest.mark.parametrize("name", sorted(ARITHMETIC))
def test_arithmetic(name):
    for value, text in ARITHMETIC[name]:
        assert value in text, f"{value} is not what {text!r} says"
        assert text in answer(name)


def test_prove_consecutive_sums_claims():
    for n in range(-50, 50):
        assert sum(range(n, n + 5)) % 5 == 0
        assert sum(range(n, n + 4)) % 4 == 2


def test_factorise_quadratic():
    assert given("factorise_quadratic") == "6x^2 - 7x - 20"
    assert answer("factorise_quadratic") == "(3x + 4)(2x - 5)"
    for x in range(-5, 6):
        assert (3 * x + 4) * (2 * x - 5) == 6 * x**2 - 7 * x - 20


def test_locate_algebra_slip():
    def holds(equation, x):
        left, right = (re.sub(r"(\d)(?=[x(])", r"\1*", side) for side in equation.split("="))
        return eval(left, {"x": x}) == eval(right, {"x": x})

    problem, *steps = (re.sub(r"^(Solve|Step \d:) ", "", line) for line in given("locate_algebra_slip").splitlines())
    assert holds(problem, 10) and not holds(problem, 7)
    assert all(holds(step, 7) for step in steps)
    text = answer("locate_algebra_slip")
    corrected = text.split("Corrected working:\n")[1].split("\n\n")[0].splitlines()
    assert corrected[-1] == "x = 10" and all(holds(line, 10) for line in corrected)
    assert text.startswith("The slip is in step 1.")
    assert "3(10 - 4) = 18" in text and "20 + 5 - (10 - 3) = 18" in text


@pytest.mark.parametrize("name, most", [("dividing_by_a_fraction", 89), ("criticise_dropout_argument", 100)])
def test_word_limits(name, most):
    assert words(answer(name)) <= most


# ---------------------------------------------------------------- Reasoning


def test_potluck_deduction():
    people = ("Amara", "Ben", "Chloe", "Dev")
    solutions = []
    for dishes in itertools.permutations(("soup", "salad", "curry", "cake")):
        had = dict(zip(people, dishes, strict=True))
        if (
            had["Ben"] in ("salad", "cake")
            and "soup" not in (had["Amara"], had["Dev"])
            and had["Dev"] != "curry"
            and had["Ben"] != "salad"
        ):
            solutions.append(had)
    assert solutions == [{"Amara": "curry", "Ben": "cake", "Chloe": "soup", "Dev": "salad"}]
    assert answer("potluck_deduction").startswith(
        "Chloe brought the soup, Amara the curry, Ben the cake and Dev the salad."
    )


def test_delivery_stop_order():
    stops = given("delivery_stop_order").splitlines()[0].removeprefix("Stops: ").split(", ")
    solutions = []
    for order in itertools.permutations(stops):
        place = {stop: n for n, stop in enumerate(order)}
        if (
            place["gym"] == place["chemist"] + 1
            and place["dentist"] < place["florist"] < place["bakery"]
            and place["bakery"] != len(stops) - 1
        ):
            solutions.append(", ".join(order))
    assert solutions == [answer("delivery_stop_order")]


def test_disprove_divisibility_claim():
    assert 12 % 4 == 0 and 12 % 6 == 0 and 12 % 24 != 0 and math.lcm(4, 6) == 12
    assert answer("disprove_divisibility_claim").startswith("Take 12.")


def test_fragile_parcel_check():
    sides = {
        "FRAGILE": ("seal", "none"),
        "blank": ("seal", "none"),
        "seal": ("FRAGILE", "blank"),
        "none": ("FRAGILE", "blank"),
    }
    turn = [seen for seen, hidden in sides.items() if any({seen, other} == {"FRAGILE", "none"} for other in hidden)]
    assert turn == ["FRAGILE", "none"]
    assert answer("fragile_parcel_check").startswith(
        "Turn over two parcels: the one marked FRAGILE and the one with no seal."
    )


def test_measure_five_litres():
    def moves(big, small):
        to_small, to_big = min(big, 4 - small), min(small, 7 - big)
        return {
            "fill big": (7, small),
            "fill small": (big, 4),
            "empty big": (0, small),
            "empty small": (big, 0),
            "to small": (big - to_small, small + to_small),
            "to big": (big + to_big, small - to_big),
        }

    distance, queue = {(0, 0): 0}, deque([(0, 0)])
    while queue:
        state = queue.popleft()
        for following in moves(*state).values():
            if following not in distance:
                distance[following] = distance[state] + 1
                queue.append(following)
    fewest = min(n for (big, small), n in distance.items() if 5 in (big, small))
    state, steps = (0, 0), []
    for line in answer("measure_five_litres").splitlines():
        if re.search(r"Fill the 4-litre", line):
            step = "fill small"
        elif re.search(r"Empty the 7-litre", line):
            step = "empty big"
        else:
            assert re.search(r"[Pp]our", line)
            step = "to big"
        steps.append(step)
        state = moves(*state)[step]
    assert state == (5, 0)
    assert len(steps) == fewest


def test_weekday_after_hundred_days():
    tuesday = date(2024, 1, 2)
    assert tuesday.strftime("%A") == "Tuesday"
    assert (tuesday + timedelta(days=100)).strftime("%A") == answer("weekday_after_hundred_days")


# ---------------------------------------------------------------- Classification


def test_worst_case_complexity_class():
    class Counting(list):
        """A list that counts how often its items are read by index."""

        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return list.__getitem__(self, index)

    def reads(function, size, *arguments):
        items = Counting(range(size))
        function(items, *arguments)
        return items.reads

    by_class = {label: run_python(code) for code, label in pairs("worst_case_complexity_class")}
    assert set(by_class) == {"O(n^2)", "O(log n)", "O(n log n)", "O(1)"}
    has_pair = by_class["O(n^2)"]["has_pair"]
    assert has_pair([3, 9, 4], 13) and not has_pair([3, 9, 4], 6)
    assert reads(has_pair, 100, -1) == 2 * math.comb(100, 2)
    position = by_class["O(log n)"]["position"]
    assert [position([2, 4, 4, 8], x) for x in (1, 4, 5, 9)] == [0, 1, 3, 4]
    assert reads(position, 1024, 5000) <= 11
    widest_gap = by_class["O(n log n)"]["widest_gap"]
    assert widest_gap([9, 1, 4]) == 5
    last = by_class["O(1)"]["last_or_none"]
    assert last([]) is None and last([1, 2]) == 2 and reads(last, 1000) == 1


def test_strict_json_validity():
    for text, label in pairs("strict_json_validity"):
        try:
            json.loads(text)
            found = "valid"
        except ValueError:
            found = "invalid"
        assert found == label


def test_necessary_or_sufficient():
    def relation(a, b, things):
        necessary = all(a(x) for x in things if b(x))
        sufficient = all(b(x) for x in things if a(x))
        return {
            (True, True): "both",
            (True, False): "necessary",
            (False, True): "sufficient",
            (False, False): "neither",
        }[necessary, sufficient]

    numbers = range(1, 200)
    sizes = list(itertools.product((1, 2), (1, 2), (False, True)))  # width, height, has right angles
    triangles = [t for t in itertools.product(range(1, 6), repeat=3) if 2 * max(t) < sum(t)]

    def cosine(a, b, c):
        return (b * b + c * c - a * a) / (2 * b * c)

    def equal_angles(t):
        a, b, c = t
        return math.isclose(cosine(a, b, c), cosine(b, c, a)) and math.isclose(cosine(b, c, a), cosine(c, a, b))

    found = [
        relation(lambda n: n % 10 == 0, lambda n: n % 2 == 0, numbers),
        relation(lambda s: s[2], lambda s: s[2] and s[0] == s[1], sizes),
        relation(lambda t: len(set(t)) == 1, equal_angles, triangles),
        relation(lambda n: n % 2 == 1, lambda n: n > 1 and all(n % d for d in range(2, n)), numbers),
    ]
    assert [label for _, label in pairs("necessary_or_sufficient")] == found


def test_triangle_from_three_sides():
    for text, label in pairs("triangle_from_three_sides"):
        a, b, c = sorted(int(side) for side in text.split(", "))
        difference = a * a + b * b - c * c
        found = "impossible" if a + b <= c else "right" if difference == 0 else "acute" if difference > 0 else "obtuse"
        assert found == label


def test_propositional_formula_status():
    for text, label in pairs("propositional_formula_status"):
        formula = re.sub(r"->", "<=", text)
        values = {bool(eval(formula, {"p": p, "q": q})) for p in (False, True) for q in (False, True)}
        found = {frozenset([True]): "tautology", frozenset([False]): "contradiction"}.get(
            frozenset(values), "contingency"
        )
        assert found == label


CLASSIFICATION = (
    "worst_case_complexity_class",
    "strict_json_validity",
    "kind_of_inference",
    "snippet_language_choice",
    "necessary_or_sufficient",
    "route_log_line_to_team",
    "triangle_from_three_sides",
    "propositional_formula_status",
)


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_labels_are_stated_and_balanced(name):
    assert SEEDS[name]["is_classification"]
    labels = Counter(label for _, label in pairs(name))
    assert all(label in instruction(name) for label in labels)
    assert max(labels.values()) - min(labels.values()) == 0
