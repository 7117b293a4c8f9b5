from benchmarks.replay.tables import table


def test_columns_are_aligned_and_integers_have_separators() -> None:
    assert table(("", "accepted"), [("units", 1440), ("rate", "1.5")]).splitlines() == [
        "        accepted",
        "────────────────",
        "units      1,440",
        "rate         1.5",
    ]


def test_text_that_looks_like_markup_is_printed_as_it_is_and_a_long_cell_is_not_wrapped() -> None:
    note = "[red]:smile: " * 20

    assert table(("note",), [(note,)]).splitlines()[2] == note.rstrip()
